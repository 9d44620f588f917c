"""Splits have whole groups, are close to the shares, equal for equal seeds, and keep parts that a data set gives."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_sa2va.data import Sample, Split, split_by_group
from tune_sa2va.data.split import TOLERANCE
from tune_sa2va.errors import DataError

RATIOS = (0.70, 0.15, 0.15)
PARTS: tuple[Split, ...] = ("train", "val", "test")


def samples_of(sizes: list[int], given_splits: dict[int, Split] | None = None) -> tuple[Sample, ...]:
    """`sizes[i]` samples of group `i`; the first of a group may ask for a part."""
    return tuple(
        Sample(
            name=f"images/{group}_{number}.png",
            image=Path("image.png"),
            mask=Path("mask.png"),
            group=str(group),
            split=(given_splits or {}).get(group) if number == 0 else None,
        )
        for group, size in enumerate(sizes)
        for number in range(size)
    )


def part_of_groups(samples: tuple[Sample, ...]) -> dict[str, Split | None]:
    parts: dict[str, Split | None] = {}
    for sample in samples:
        assert parts.setdefault(sample.group, sample.split) == sample.split, "a group is cut"
    return parts


group_sizes = st.lists(st.integers(1, 40), min_size=3, max_size=40)


@settings(deadline=None)
@given(
    sizes=group_sizes, seed=st.integers(0, 2**32), ratios=st.sampled_from([RATIOS, (0.5, 0.25, 0.25), (0.1, 0.1, 0.8)])
)
def test_whole_groups_near_the_shares(sizes: list[int], seed: int, ratios: tuple[float, float, float]) -> None:
    samples = samples_of(sizes)
    split = split_by_group(samples, ratios, seed=seed)
    assert [(sample.name, sample.group) for sample in split] == [(sample.name, sample.group) for sample in samples]
    assert set(part_of_groups(split).values()) == set(PARTS)
    counts = Counter(sample.split for sample in split)
    for part, ratio in zip(PARTS, ratios, strict=True):
        # Where no split is within the tolerance, a part is at most one group over its share.
        assert counts[part] - ratio * len(samples) <= max(TOLERANCE * len(samples), max(sizes))


@settings(deadline=None)
@given(num_groups=st.integers(3, 300), seed=st.integers(0, 99))
def test_images_by_themselves_meet_the_shares(num_groups: int, seed: int) -> None:
    counts = Counter(sample.split for sample in split_by_group(samples_of([1] * num_groups), seed=seed))
    for part, ratio in zip(PARTS, RATIOS, strict=True):
        assert abs(counts[part] - ratio * num_groups) <= (1 if num_groups >= 7 else 1.5)


@settings(deadline=None)
@given(sizes=group_sizes, seed=st.integers(0, 99), order=st.randoms(use_true_random=False))
def test_the_same_for_any_order_of_samples(sizes: list[int], seed: int, order: random.Random) -> None:
    samples = list(samples_of(sizes))
    wanted = part_of_groups(split_by_group(samples, seed=seed))
    order.shuffle(samples)
    assert part_of_groups(split_by_group(samples, seed=seed)) == wanted


def test_seeds_give_different_splits() -> None:
    samples = samples_of([1] * 40)
    assert len({split_by_group(samples, seed=seed) for seed in range(20)}) == 20


def far_from_shares(split: dict[str, Split | None], sizes: list[int]) -> float:
    """By how much the farthest part's share of all samples misses."""
    counts = Counter[Split | None]()
    for group, part in split.items():
        counts[part] += sizes[int(group)]
    return max(abs(counts[part] / sum(sizes) - ratio) for part, ratio in zip(PARTS, RATIOS, strict=True))


@pytest.mark.parametrize(
    "sizes",
    [
        [*range(1, 11)],
        [100, 60, 40, 30, 25, 20, 15, 10, 8, 5],
        [12, 30, 7, 22, 18, 9, 41, 15, 3, 26],
    ],
)
def test_ten_groups_of_distinct_sizes_are_split_in_many_ways(sizes: list[int]) -> None:
    """Taken largest first, each to the part that lacks most, they gave two splits over all seeds."""
    splits = [part_of_groups(split_by_group(samples_of(sizes), seed=seed)) for seed in range(50)]
    assert len({tuple(sorted(split.items())) for split in splits}) >= 30
    assert max(far_from_shares(split, sizes) for split in splits) <= TOLERANCE
    for number, size in enumerate(sizes):
        if size < 0.15 * sum(sizes):
            assert len({split[str(number)] for split in splits}) == 3, f"the group of {size} is never in some part"


def test_where_the_shares_cannot_be_met_splits_are_as_near_as_the_largest_first() -> None:
    sizes = [2**number for number in range(10)]  # 512 and 256 of 1023 make 75%, and 512 with all others but 256 too
    splits = [part_of_groups(split_by_group(samples_of(sizes), seed=seed)) for seed in range(50)]
    assert len({tuple(sorted(split.items())) for split in splits}) >= 10
    assert max(far_from_shares(split, sizes) for split in splits) < 0.051


def test_groups_of_one_size_are_in_each_part_as_often_as_their_number_says() -> None:
    samples = samples_of([3] * 20)
    seeds = 200
    parts = Counter(
        (group, part)
        for seed in range(seeds)
        for group, part in part_of_groups(split_by_group(samples, seed=seed)).items()
    )
    for group in map(str, range(20)):
        # Four standard deviations of a binomial with these shares.
        assert abs(parts[group, "train"] / seeds - 0.7) < 0.13
        assert abs(parts[group, "val"] / seeds - 0.15) < 0.101
        assert abs(parts[group, "test"] / seeds - 0.15) < 0.101


def test_the_split_of_a_seed_stays_what_it_is() -> None:
    """Published results name a seed; a change here makes them impossible to repeat."""
    parts = part_of_groups(split_by_group(samples_of([9, 4, 4, 2, 2, 1, 1, 1, 1, 1, 1, 1]), seed=0))
    wanted = "train train test val train train train train val val train train"
    assert [parts[str(group)] for group in range(12)] == wanted.split()


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=6, max_size=20),
    given_splits=st.dictionaries(st.integers(0, 2), st.sampled_from(PARTS)),
    seed=st.integers(0, 9),
)
def test_given_splits_are_kept(sizes: list[int], given_splits: dict[int, Split], seed: int) -> None:
    parts = part_of_groups(split_by_group(samples_of(sizes, given_splits), seed=seed))
    assert {group: parts[str(group)] for group in given_splits} == given_splits
    assert set(parts.values()) == set(PARTS)


def test_the_rest_fills_up_what_was_given() -> None:
    counts = Counter(sample.split for sample in split_by_group(samples_of([15] + [1] * 85, {0: "test"}), seed=0))
    assert counts == {"train": 70, "val": 15, "test": 15}


def test_everything_given() -> None:
    given_splits: dict[int, Split] = {0: "test", 1: "val", 2: "train", 3: "test"}
    parts = part_of_groups(split_by_group(samples_of([1, 2, 3, 4], given_splits), seed=0))
    assert parts == {"0": "test", "1": "val", "2": "train", "3": "test"}


def test_everything_given_but_no_test_part() -> None:
    with pytest.raises(DataError, match="leave test without images"):
        split_by_group(samples_of([1, 2, 3], {0: "train", 1: "val", 2: "train"}), seed=0)


def test_a_group_in_two_given_splits() -> None:
    first, *rest = samples_of([1, 1, 1], {0: "train"})
    other = Sample(name="images/b.png", image=Path("b"), mask=Path("b"), group="0", split="test")
    with pytest.raises(DataError, match=r"images/b\.png: its group '0' is given to both train and test"):
        split_by_group([first, other, *rest], seed=0)


@pytest.mark.parametrize("sizes", [[], [5], [5, 5]])
def test_too_few_groups(sizes: list[int]) -> None:
    with pytest.raises(DataError, match=f"at least 3 groups, got {len(sizes)}"):
        split_by_group(samples_of(sizes), seed=0)


@pytest.mark.parametrize("ratios", [(0.7, 0.3, 0.0), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_ratios_out_of_range(ratios: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="ratios"):
        split_by_group(samples_of([1, 1, 1]), ratios, seed=0)
