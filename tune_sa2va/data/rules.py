"""What the user's flags say about a data set. The flags are declared in `data_flags.py`."""

from dataclasses import dataclass, replace

from tune_sa2va.config import Absent, DataSettings, OutlineRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """group_by: see `group_rule`; None: the data set's groups. labels: see `parse_labels`; None: the data set's labels.

    outlines: what an outline inside another of the same text means; None: such data are refused.
    absent: whether samples with an empty truth are left out or kept.
    """

    group_by: str | None = None
    outlines: OutlineRule | None = None
    labels: str | None = None
    absent: Absent = "drop"

    @classmethod
    def of(cls, data: DataSettings) -> "Rules":
        """The rules of a search."""
        return cls(group_by=data.group_by, outlines=data.outlines, labels=data.labels, absent=data.absent)

    def without_groups(self) -> "Rules":
        """The rules for a caller that knows the groups from the record of a split."""
        return replace(self, group_by=None)
