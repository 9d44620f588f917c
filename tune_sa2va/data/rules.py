"""What the user says of a data set beside its files. The flags stand in `data_flags.py`."""

from dataclasses import dataclass, replace

from tune_sa2va.config import DataSettings, OutlineRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """group_by: see `group_rule`. outlines: what an outline inside another of its text means; None refuses them."""

    group_by: str | None = None
    outlines: OutlineRule | None = None

    @classmethod
    def of(cls, data: DataSettings) -> "Rules":
        """Those of a search."""
        return cls(group_by=data.group_by, outlines=data.outlines)

    def without_groups(self) -> "Rules":
        """For who knows the groups already, from the record of a split."""
        return replace(self, group_by=None)
