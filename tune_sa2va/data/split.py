"""Train, validation and test parts that never cut a group: frames of one patient are near-duplicates.

Groups go largest first, each to the part that lacks most samples of its share; a seeded shuffle orders groups of one
size. So the shares come as near as group sizes allow, and large videos tend to train, where they cost no breadth of
validation.

A `split` that the data set gives is kept, and may be given for some samples only: their whole groups follow, and the
other groups fill the parts up to the shares of all samples.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from tune_sa2va.data.sample import Sample, Split
from tune_sa2va.errors import DataError

_PARTS: tuple[Split, ...] = get_args(Split)


def split_by_group(
    samples: Sequence[Sample], ratios: tuple[float, float, float] = (0.70, 0.15, 0.15), *, seed: int
) -> tuple[Sample, ...]:
    """`samples` in the order given, each with `split` set, whole groups only, no part empty.

    ratios: shares of samples for train, val and test; above 0, adding up to 1. The outcome depends on groups, their
    sizes, `ratios` and `seed`, not on the order of samples. Run `check` first: it joins groups that hold the same
    picture.

    Raises:
        DataError: fewer than three groups, a group in two given splits, or given splits that leave a part empty.
        ValueError: ratios out of range.
    """
    if min(ratios) <= 0 or abs(sum(ratios) - 1) > 1e-6:
        raise ValueError(f"ratios must be above 0 and add up to 1, got {ratios}.")
    sizes = Counter(sample.group for sample in samples)
    if len(sizes) < len(_PARTS):
        raise DataError(
            f"A split needs at least {len(_PARTS)} groups, got {len(sizes)}. Add images of other patients, or give "
            "independent images groups of their own (the group column of manifest.csv)."
        )
    part_of_group = _given_parts(samples)
    _fill(part_of_group, sizes, ratios, seed)
    return tuple(replace(sample, split=part_of_group[sample.group]) for sample in samples)


def _given_parts(samples: Sequence[Sample]) -> dict[str, Split]:
    """The parts that the data set itself asks for."""
    parts: dict[str, Split] = {}
    for sample in samples:
        if sample.split is None:
            continue
        if (other := parts.setdefault(sample.group, sample.split)) != sample.split:
            raise DataError(
                f"{sample.name}: its group '{sample.group}' is given to both {other} and {sample.split}. "
                "Give all images of a group the same split."
            )
    return parts


def _fill(
    part_of_group: dict[str, Split], sizes: Mapping[str, int], ratios: tuple[float, float, float], seed: int
) -> None:
    """Adds the groups without a part to `part_of_group`."""
    generator = random.Random(seed)
    groups = sorted(group for group in sizes if group not in part_of_group)
    generator.shuffle(groups)
    groups.sort(key=lambda group: -sizes[group])  # stable: groups of one size stay shuffled
    total = sum(sizes.values())
    lacking = {part: ratio * total for part, ratio in zip(_PARTS, ratios, strict=True)}
    for group, part in part_of_group.items():
        lacking[part] -= sizes[group]
    tie_break = {part: generator.random() for part in _PARTS}
    for placed, group in enumerate(groups):
        empty = [part for part in _PARTS if part not in part_of_group.values()]
        # The last groups are kept for parts that would stay empty.
        choice = empty if len(groups) - placed <= len(empty) else _PARTS
        part = max(choice, key=lambda part: (lacking[part], tie_break[part]))
        part_of_group[group] = part
        lacking[part] -= sizes[group]
    if empty := [part for part in _PARTS if part not in part_of_group.values()]:
        raise DataError(
            f"The given splits leave {' and '.join(empty)} without images. Give it some groups, or leave splits empty."
        )
