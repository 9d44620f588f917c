"""Train, validation and test parts that never cut a group: frames of one patient are near-duplicates.

A seed draws one of many splits. The groups come in a shuffled order, and each draws a part with chances in proportion
to what the parts still lack, among those that it brings nearer to their shares. So every group can come into every part
that has room for it, and no order of names or sizes decides. A drawn split counts where all parts are within TOLERANCE
of their shares, or as near as the split gets that takes the largest groups first; that one stands where none of TRIES
does. Large videos tend to train, where they cost no breadth of validation: in the others there is no room for them.

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

TOLERANCE = 0.03
"""How far a part's share of all samples may be from the one asked for."""

TRIES = 200
"""Splits that are drawn at most."""

_ROUNDING = 1e-6

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
    """Each group to the part that lacks most, so that each is at most one group over its share; none of `empty` stays
    so."""
    order = list(groups)
    generator.shuffle(order)
    order.sort(key=lambda group: -sizes[group])  # stable: groups of one size stay shuffled
    lacking, still_empty = dict(shares), list(empty)
    tie_break = {part: generator.random() for part in _PARTS}
    parts: dict[str, Split] = {}
    for placed, group in enumerate(order):
        # The last groups are kept for parts that would stay empty.
        choice = still_empty if len(order) - placed <= len(still_empty) else _PARTS
        part = max(choice, key=lambda part: (lacking[part], tie_break[part]))
        parts[group] = part
        lacking[part] -= sizes[group]
        still_empty = [other for other in still_empty if other != part]
    return parts


def _draw(
    groups: Sequence[str], sizes: Mapping[str, int], shares: Mapping[Split, float], generator: random.Random
) -> dict[str, Split]:
    """A split by chance; its parts may be far from their shares, or empty."""
    order = list(groups)
    generator.shuffle(order)
    lacking = dict(shares)
    parts: dict[str, Split] = {}
    for group in order:
        room = [part for part in _PARTS if 2 * lacking[part] > sizes[group]]  # brought nearer to its share
        if room:
            (part,) = generator.choices(room, weights=[lacking[part] for part in room])
        else:
            part = max(_PARTS, key=lambda part: lacking[part])
        parts[group] = part
        lacking[part] -= sizes[group]
    return parts


def _deviation(parts: Mapping[str, Split], sizes: Mapping[str, int], shares: Mapping[Split, float]) -> float:
    """Samples by which the part that is farthest from its share misses it."""
    missed = dict(shares)
    for group, part in parts.items():
        missed[part] -= sizes[group]
    return max(abs(samples) for samples in missed.values())
