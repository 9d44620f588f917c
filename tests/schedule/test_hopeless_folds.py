"""Folds are left out for trials that are significantly worse, and hardly ever for others."""

import numpy as np
import pytest

from tune_sa2va.schedule.hopeless_folds import is_hopeless


def share_given_up(behind: float, *, level: float, groups: int = 12, runs: int = 400) -> float:
    """The share of trials given up whose true scores are lower by `behind`, with the spread of real paired scores."""
    random = np.random.default_rng(0)
    to_beat = random.uniform(0.5, 0.8, size=groups)
    given_up = 0
    for _ in range(runs):
        scores = to_beat - behind + random.normal(0.0, 0.023, size=groups)
        given_up += is_hopeless(scores, to_beat, list(range(groups)), level=level)
    return given_up / runs


def test_an_equal_is_given_up_as_often_as_the_level_says() -> None:
    assert share_given_up(0.0, level=0.05) == pytest.approx(0.05, abs=0.03)


def test_who_is_far_behind_is_given_up_and_who_is_ahead_is_not() -> None:
    assert share_given_up(0.03, level=0.05) > 0.95
    assert share_given_up(-0.02, level=0.05) == 0.0


def test_five_groups_give_nothing_up() -> None:
    assert share_given_up(0.2, level=0.2, groups=5) == 0.0
