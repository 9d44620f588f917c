"""Folds have whole groups, are as equal as group sizes allow, and are the same for the same seed."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_sa2va.data.folds import group_folds
from tune_sa2va.errors import DataError

group_sizes = st.lists(st.integers(1, 40), min_size=5, max_size=40)


def groups_of(sizes: list[int]) -> list[str]:
    return [f"group {group}" for group, size in enumerate(sizes) for _ in range(size)]


@settings(deadline=None)
@given(sizes=group_sizes, folds=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_whole_groups_in_folds_that_are_nearly_equal(sizes: list[int], folds: int, seed: int) -> None:
    groups = groups_of(sizes)
    found = group_folds(groups, folds, seed=seed)
    assert len(set(zip(groups, found, strict=True))) == len(sizes), "a group is cut"
    filled = Counter(found)
    assert set(filled) == set(range(folds))
    assert max(filled.values()) - min(filled.values()) <= max(sizes)


@settings(deadline=None)
@given(sizes=group_sizes, seed=st.integers(0, 99), order=st.randoms(use_true_random=False))
def test_the_same_for_any_order_of_samples(sizes: list[int], seed: int, order: random.Random) -> None:
    groups = groups_of(sizes)
    wanted = dict(zip(groups, group_folds(groups, 5, seed=seed), strict=True))
    order.shuffle(groups)
    assert dict(zip(groups, group_folds(groups, 5, seed=seed), strict=True)) == wanted


def test_images_by_themselves_are_dealt_out_evenly() -> None:
    for folds, seed in ((2, 0), (3, 1), (5, 2), (42, 3)):
        filled = Counter(group_folds([str(image) for image in range(42)], folds, seed=seed))
        assert max(filled.values()) - min(filled.values()) <= 1


def test_seeds_give_different_folds() -> None:
    groups = groups_of([1] * 40)
    assert len({group_folds(groups, 5, seed=seed) for seed in range(20)}) == 20


def test_the_folds_of_a_seed_stay_what_they_are() -> None:
    """Recordings and searches name a seed; a change here makes them impossible to repeat."""
    groups = groups_of([9, 4, 4, 2, 2, 1, 1, 1, 1, 1, 1, 1])
    fold_of = dict(zip(groups, group_folds(groups, 3, seed=0), strict=True))
    assert [fold_of[f"group {group}"] for group in range(12)] == WANTED


WANTED = [1, 0, 2, 0, 2, 2, 2, 0, 0, 1, 2, 0]


@pytest.mark.parametrize("sizes", [[], [5], [5, 5]])
def test_fewer_groups_than_folds(sizes: list[int]) -> None:
    with pytest.raises(DataError, match=f"3 folds need at least 3 groups, got {len(sizes)}"):
        group_folds(groups_of(sizes), 3, seed=0)


def test_one_fold_holds_nothing_out() -> None:
    with pytest.raises(ValueError, match="at least 2, got 1"):
        group_folds(["a", "b"], 1, seed=0)
