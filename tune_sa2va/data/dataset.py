"""What a reader returns: the samples of a data set, and every fault that it met."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tune_sa2va.data.sample import Sample


class Severity(StrEnum):
    """ERROR: must be cured before a search starts. WARNING: a search starts; the message says how it is handled."""

    ERROR = "error"
    WARNING = "warning"


class Fault(StrEnum):
    """What can be wrong with a file, an entry or a group; each fault has one severity."""

    BAD_ENTRY = "entry not understood"
    LISTED_TWICE = "listed twice"
    OUTSIDE = "leads out of the data set's folder"
    MISSING_IMAGE = "missing image"
    MISSING_MASK = "missing mask"
    EXTRA_MASK = "mask without image"
    UNREADABLE_IMAGE = "unreadable image"
    UNREADABLE_MASK = "unreadable mask"
    SIZE_MISMATCH = "sizes differ"
    NOT_TWO_VALUED = "mask not two-valued"
    SHORT_POLYGON = "polygon of fewer than three points"
    POLYGON_OUTSIDE = "polygon outside the image"
    NESTED_OUTLINES = "outline inside another"
    FLAT_PICTURE = "picture of one value"
    CLASSES_MIXED = "masks show different things"
    ALL_INVERTED = "all masks cover most of their images"
    UNREAD_PICTURE = "picture of a kind that is not read"
    NO_GROUP = "no group"
    UNKNOWN_LABEL = "value without a label"
    NOT_ANNOTATED = "not annotated"
    EMPTY_MASK = "empty mask"
    SAME_PICTURE = "same picture in two groups"
    ALIKE_PICTURES = "near-duplicates in two groups"
    MOSTLY_VESSEL = "mask covers most of the image"
    FAINT_PICTURE = "hardly any contrast"
    FEW_LEVELS = "few grey levels"
    NOISE = "looks like noise"
    SCALED_APART = "frames scaled apart"
    VALUES_DIFFER = "mask values differ"
    GROUPS_ALIKE = "groups spelt alike"
    NUMBERED_GROUPS = "groups differ in a number"
    ONE_PATIENT = "one patient in several groups"
    ABSENT = "target absent"
    UNREAD_FILE = "file not read"
    UNREAD_KEY = "key not read"
    COUNTED_EMPTY = "cell counted as empty"

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self in _WARNINGS else Severity.ERROR


_WARNINGS = frozenset(
    {
        Fault.NOT_ANNOTATED,
        Fault.EMPTY_MASK,
        Fault.SAME_PICTURE,
        Fault.ALIKE_PICTURES,
        Fault.MOSTLY_VESSEL,
        Fault.FAINT_PICTURE,
        Fault.FEW_LEVELS,
        Fault.NOISE,
        Fault.SCALED_APART,
        Fault.VALUES_DIFFER,
        Fault.GROUPS_ALIKE,
        Fault.NUMBERED_GROUPS,
        Fault.ONE_PATIENT,
        Fault.ABSENT,
        Fault.UNREAD_FILE,
        Fault.UNREAD_KEY,
        Fault.COUNTED_EMPTY,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One fault of one file.

    file: relative to the data set's folder (absolute where it lies outside); for an entry of a list, the list and the
        entry's number.
    message: what was wanted, what was got, what to do.
    names: quotes in the message that may hold a patient's name and are neither a file nor a group of a sample.
    """

    fault: Fault
    file: str
    message: str
    names: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        return self.fault.severity


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A data set as listed, before `check` decodes its pictures.

    root: the data set's folder, absolute. samples: in order of name and text. problems: found while the lists were
    read. keeps_absent: samples with an empty truth are kept; their target is absent.
    """

    root: Path
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    keeps_absent: bool = False
