"""What the user says of a data set beside its files. The flags stand in `data_flags.py`."""

from dataclasses import dataclass, replace

from tune_sa2va.config import Absent, DataSettings, OutlineRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """group_by: see `group_rule`. outlines: what an outline inside another of its text means; None refuses them.

    labels: what the values of mask files show, see `parse_labels`. absent: whether samples of an empty truth are meant.
    """

    group_by: str | None = None
    outlines: OutlineRule | None = None
    labels: str | None = None
    absent: Absent = "drop"

    @classmethod
    def of(cls, data: DataSettings) -> "Rules":
        """Those of a search."""
        return cls(group_by=data.group_by, outlines=data.outlines, labels=data.labels, absent=data.absent)

    def without_groups(self) -> "Rules":
        """For who knows the groups already, from the record of a split."""
        return replace(self, group_by=None)
