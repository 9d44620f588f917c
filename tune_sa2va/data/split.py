"""Splits samples into train, validation and test parts. Groups stay whole: frames of one patient are near-duplicates.

A seed draws one of many splits. The groups are shuffled, and each draws a part among those that it brings closer to
their shares, with probabilities in proportion to what the parts still lack. So every group can land in every part that
has room for it, and no order of names or sizes decides. A drawn split is accepted if all parts are within TOLERANCE of
their shares, or at least as close as in a split that assigns the largest groups first; if none of TRIES draws is
accepted, that one is used. Large videos mostly land in train, since the other parts have no room for them.

A `split` that the data set gives is kept. It may be given for some samples only: their whole groups follow, and the
other groups fill the parts up to the shares of all samples.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from tune_sa2va.data.sample import Sample, Split
from tune_sa2va.errors import DataError

TOLERANCE = 0.03
"""How far a part's share of all samples may be from the requested one."""

TRIES = 200
"""Most splits that are drawn."""

_ROUNDING = 1e-6

_PARTS: tuple[Split, ...] = get_args(Split)


def split_by_group(
    samples: Sequence[Sample], ratios: tuple[float, float, float] = (0.70, 0.15, 0.15), *, seed: int
) -> tuple[Sample, ...]:
    """`samples` in the given order, each with `split` set; groups stay whole and no part is empty.

    ratios: shares of samples for train, val and test; above 0, adding up to 1. The result depends on the groups, their
    sizes, `ratios` and `seed`, but not on the order of samples. Run `check` first: it joins groups that hold the same
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
    """Group -> the part that the data set itself gives it."""
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
    """Assigns a part to every group that is not in `part_of_group` yet, and adds it there."""
    generator = random.Random(seed)
    total = sum(sizes.values())
    shares = {part: ratio * total for part, ratio in zip(_PARTS, ratios, strict=True)}
    for group, part in part_of_group.items():
        shares[part] -= sizes[group]
    groups = sorted(group for group in sizes if group not in part_of_group)
    empty = [part for part in _PARTS if part not in part_of_group.values()]
    if len(groups) < len(empty):
        raise DataError(
            f"The given splits leave {' and '.join(empty)} without images. Give it some groups, or leave splits empty."
        )
    largest_first = _deal_largest_first(groups, sizes, shares, empty, generator)
    allowed = max(TOLERANCE * total, _deviation(largest_first, sizes, shares))
    drawn = (_draw(groups, sizes, shares, generator) for _ in range(TRIES))
    fitting = (
        parts
        for parts in drawn
        if set(empty) <= set(parts.values()) and _deviation(parts, sizes, shares) <= allowed + _ROUNDING
    )
    part_of_group |= next(fitting, largest_first)


def _deal_largest_first(
    groups: Sequence[str],
    sizes: Mapping[str, int],
    shares: Mapping[Split, float],
    empty: Sequence[Split],
    generator: random.Random,
) -> dict[str, Split]:
    """Assigns each group to the part that lacks most, largest groups first; every part in `empty` gets a group.

    So each part exceeds its share by at most one group.
    """
    order = list(groups)
    generator.shuffle(order)
    order.sort(key=lambda group: -sizes[group])  # stable: groups of one size stay shuffled
    lacking, still_empty = dict(shares), list(empty)
    tie_break = {part: generator.random() for part in _PARTS}
    parts: dict[str, Split] = {}
    for placed, group in enumerate(order):
        # The last groups are reserved for parts that would otherwise stay empty.
        choice = still_empty if len(order) - placed <= len(still_empty) else _PARTS
        part = max(choice, key=lambda part: (lacking[part], tie_break[part]))
        parts[group] = part
        lacking[part] -= sizes[group]
        still_empty = [other for other in still_empty if other != part]
    return parts


def _draw(
    groups: Sequence[str], sizes: Mapping[str, int], shares: Mapping[Split, float], generator: random.Random
) -> dict[str, Split]:
    """A random split; its parts may be far from their shares, or empty."""
    order = list(groups)
    generator.shuffle(order)
    lacking = dict(shares)
    parts: dict[str, Split] = {}
    for group in order:
        room = [part for part in _PARTS if 2 * lacking[part] > sizes[group]]  # the group brings it closer to its share
        if room:
            (part,) = generator.choices(room, weights=[lacking[part] for part in room])
        else:
            part = max(_PARTS, key=lambda part: lacking[part])
        parts[group] = part
        lacking[part] -= sizes[group]
    return parts


def _deviation(parts: Mapping[str, Split], sizes: Mapping[str, int], shares: Mapping[Split, float]) -> float:
    """The largest difference between a part's size and its share, in samples."""
    missed = dict(shares)
    for group, part in parts.items():
        missed[part] -= sizes[group]
    return max(abs(samples) for samples in missed.values())
