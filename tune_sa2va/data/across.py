"""Faults that only a comparison of samples shows: mixed classes, frames on different scales, groups of one patient.

Works on what `check` measured on each sample; no picture is decoded here.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from tune_sa2va.data.dataset import Fault, Problem
from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.looks import ALIKE_FROM, Looks
from tune_sa2va.data.readers.naming import group_from_name
from tune_sa2va.data.sample import Sample
from tune_sa2va.data.unions import Unions
from tune_sa2va.words import listed

MOSTLY_VESSEL_FROM = 0.5
"""A mask that covers a larger share of its image may be inverted. Vessels cover 4 to 11 % in real data sets."""

_MIN_MASKS_FOR_ALL = 3
"""Fewest masks for which a message says that all are inverted."""

_PLAIN = frozenset({"1", "255", "65535"})
"""Values that mean "vessel" at some bit depth. Any other value is taken for a class of its own."""

_PATIENT = re.compile(r"^.+?\(\d+\)")
"""`Name(0000000001)`: angiography exports put it before the numbers of view and frame."""

_NAMED = 5
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A sample without a fault of its own, and what was measured on it.

    size_px: (height, width). foreground: share of the image that its mask covers, in [0, 1]. picture: hash of the
    decoded pixels. shown_as, scale_bits: as in `MaskFile` and `Picture`.
    """

    sample: Sample
    size_px: tuple[int, int]
    foreground: float
    picture: str
    shown_as: str | None
    scale_bits: int | None
    looks: Looks


def faults_across(measured: Sequence[Measured]) -> list[Problem]:
    """Every fault that a comparison of samples shows. measured: in order of name."""
    samples = [item.sample for item in measured]
    return [
        *_mixed_classes(measured),
        *_all_inverted(measured),
        *_scaled_apart(measured),
        *_groups_alike(samples),
        *_one_patient(samples),
        *_numbered_groups(samples),
        *_near_duplicates(measured),
    ]


def _mixed_classes(measured: Sequence[Measured]) -> Iterator[Problem]:
    """Texts that different masks show by different values or colours."""
    of_text: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in measured:
        if item.shown_as is not None:
            of_text[item.sample.text][item.shown_as].append(item.sample.name)
    for text, of_value in of_text.items():
        if len(of_value) < 2:
            continue
        counted = ", ".join(f"{value} in {len(names)} ({names[0]})" for value, names in sorted(of_value.items()))
        file = next(iter(of_value.values()))[0]
        if of_value.keys() <= _PLAIN:
            message = (
                f"'{text}' is shown by {counted}. The second value of each file is taken for it; do they mean the same "
                "thing? Write one value in all masks."
            )
            yield Problem(fault=Fault.VALUES_DIFFER, file=file, message=message)
        else:
            message = (
                f"'{text}' is shown by {counted}: different values stand for different things, so one text for all is "
                "wrong. Give each its text (--labels 1=artery,2=vein, or a text column), or write one value in all."
            )
            yield Problem(fault=Fault.CLASSES_MIXED, file=file, message=message)


def _all_inverted(measured: Sequence[Measured]) -> Iterator[Problem]:
    shares = [item.foreground for item in measured if item.foreground]
    if len(shares) >= _MIN_MASKS_FOR_ALL and min(shares) > MOSTLY_VESSEL_FROM:
        message = (
            f"All {len(shares)} masks cover {min(shares):.0%} to {max(shares):.0%} of their images: the brighter value "
            "is taken for vessel, but here it is the background. Invert the masks."
        )
        yield Problem(fault=Fault.ALL_INVERTED, file=measured[0].sample.name, message=message)


def _scaled_apart(measured: Iterable[Measured]) -> Iterator[Problem]:
    """Groups whose pictures of more than 8 bits are read on different scales: one bright spot can darken a frame."""
    of_group: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for item in measured:
        if item.scale_bits is not None:
            of_group[item.sample.group][item.scale_bits].add(item.sample.name)
    for group, of_bits in of_group.items():
        if len(of_bits) < 2:
            continue
        counted = " and ".join(f"{bits} bits in {len(names)}" for bits, names in sorted(of_bits.items()))
        factor = 2 ** (max(of_bits) - min(of_bits))
        message = (
            f"Pictures of group {group} use {counted}, and each is scaled by the bits that it uses: equal values come "
            f"out up to {factor} times as bright. Export the series with one window, as 8-bit PNG."
        )
        yield Problem(fault=Fault.SCALED_APART, file=min(of_bits[max(of_bits)]), message=message)


def _groups_alike(samples: Iterable[Sample]) -> Iterator[Problem]:
    """Groups whose names differ only in spelling: P01 and p01, composed and decomposed letters, blanks."""
    spellings: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        plain = "".join(unicodedata.normalize("NFC", sample.group).casefold().split())
        spellings[plain].setdefault(sample.group, sample.name)
    for groups in spellings.values():
        if len(groups) > 1:
            message = (
                f"Groups {listed(map(repr, groups), _NAMED)} differ only in capitals, blanks or the coding of letters, "
                "and a split may separate them. Spell them alike."
            )
            yield Problem(fault=Fault.GROUPS_ALIKE, file=next(iter(groups.values())), message=message)


def _one_patient(samples: Iterable[Sample]) -> Iterator[Problem]:
    """Patients, by `Name(0000000001)`, whose views are in several groups."""
    of_patient: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if patient := _patient_of(sample.group):
            of_patient[patient].setdefault(sample.group, sample.name)
    several = [groups for groups in of_patient.values() if len(groups) > 1]
    if several:
        message = (
            f"{len(several)} of {len(of_patient)} patients, by the NAME(NUMBER) at the start, have more than one group "
            f"({listed(several[0], _NAMED)}), and a split may separate them. Keep them together with --group-by "
            "'^(.+?\\(\\d+\\))'."
        )
        yield Problem(fault=Fault.ONE_PATIENT, file=next(iter(several[0].values())), message=message)


def _numbered_groups(samples: Iterable[Sample]) -> Iterator[Problem]:
    """Groups, taken from file names, that differ only in a last number: perhaps frames or views of one patient."""
    of_stem: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        case = image_stem(PurePosixPath(sample.name)).removesuffix("_0000")  # as nnU-Net calls it
        if sample.group not in (group_from_name(sample.name), case) or _patient_of(sample.group):
            continue
        path = PurePosixPath(sample.group)
        stem = re.sub(r"\d+$", "", image_stem(path) if sample.group == sample.name else path.name)
        if any(map(str.isalpha, stem)):
            of_stem[str(path.with_name(stem))].setdefault(sample.group, sample.name)
    for groups in of_stem.values():
        if len(groups) > 1:
            message = (
                f"{len(groups)} groups differ only in a number at the end of their names ({listed(groups, _NAMED)}). "
                "If they are frames or views of one patient, a split may separate them: name the patient with "
                "--group-by, or in a group column."
            )
            yield Problem(fault=Fault.NUMBERED_GROUPS, file=next(iter(groups.values())), message=message)


def _patient_of(group: str) -> str | None:
    """The `Name(0000000001)` at the start of a group's name, if any."""
    found = _PATIENT.match(PurePosixPath(group).name)
    return found[0] if found else None


def _near_duplicates(measured: Sequence[Measured]) -> Iterator[Problem]:
    """Pictures of two groups that are nearly identical: one warning for each set of groups that they connect."""
    pictures = list({item.sample.name: item for item in measured if item.looks.sketch.any()}.values())
    if not pictures:
        return
    sketches = np.stack([item.looks.sketch for item in pictures])
    groups = np.unique([item.sample.group for item in pictures], return_inverse=True)[1]
    joined, closest = Unions(), dict[tuple[str, str], float]()
    for start in range(0, len(pictures), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        likeness = sketches[rows].astype(np.float32) @ sketches[start:].astype(np.float32).T
        found = (likeness >= ALIKE_FROM) & (groups[rows, None] != groups[None, start:])
        for first, second in np.argwhere(np.triu(found)):
            one, other = pictures[start + first], pictures[start + second]
            joined.join(one.sample.group, other.sample.group)
            closest[one.sample.name, other.sample.name] = float(likeness[first, second])
    clusters: dict[str, set[str]] = defaultdict(set)
    pairs: dict[str, tuple[float, str, str]] = {}
    group_of = {item.sample.name: item.sample.group for item in pictures}
    for (first, second), value in closest.items():
        root = joined.root(group_of[first])
        clusters[root] |= {group_of[first], group_of[second]}
        pairs[root] = max(pairs.get(root, (0.0, "", "")), (value, first, second))
    for root, members in clusters.items():
        value, first, second = pairs[root]
        message = (
            f"Nearly identical to {second} (likeness {value:.2f}), which is in another group; such pairs connect "
            f"{len(members)} groups: {listed(sorted(members), _NAMED)}. Are they frames of one patient? Give them one "
            "group."
        )
        yield Problem(fault=Fault.ALIKE_PICTURES, file=first, message=message)
