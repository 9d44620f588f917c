"""Intervals against scipy's bootstrap, the cases with too few values, and verdicts."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from tune_sa2va.evaluate.bootstrap import mean_interval, paired_interval, verdict

VALUES = np.random.default_rng(1).beta(8, 3, size=21).tolist()


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_agrees_with_scipy(confidence: float) -> None:
    interval = mean_interval(VALUES, confidence=confidence)
    expected = bootstrap(
        (VALUES,), np.mean, confidence_level=confidence, method="percentile", n_resamples=10_000, rng=5
    ).confidence_interval
    assert interval.mean == pytest.approx(np.mean(VALUES))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=3e-3)
    assert interval.low < interval.mean < interval.high


def test_the_seed_decides_and_the_block_size_does_not_round_the_count() -> None:
    assert mean_interval(VALUES, resamples=1_500, seed=3) == mean_interval(VALUES, resamples=1_500, seed=3)
    assert mean_interval(VALUES, resamples=1_500, seed=3) != mean_interval(VALUES, resamples=2_000, seed=3)
    assert mean_interval(VALUES, seed=3) != mean_interval(VALUES, seed=4)


def test_nan_is_left_out_and_counted() -> None:
    interval = mean_interval([*VALUES, math.nan])
    plain = mean_interval(VALUES)
    assert (interval.mean, interval.low, interval.high) == (plain.mean, plain.low, plain.high)
    assert (interval.num_values, interval.num_skipped) == (21, 1)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = mean_interval([0.7])
    assert one.mean == 0.7 and math.isnan(one.low) and math.isnan(one.high)
    assert math.isnan(mean_interval([]).mean)
    assert verdict([0.7], [0.1]) == "tie"


def test_pairs_drop_out_together() -> None:
    interval = paired_interval([0.9, math.nan, 0.8, 0.7], [0.8, 0.1, math.nan, 0.6])
    assert interval.mean == pytest.approx(0.1)
    assert (interval.num_values, interval.num_skipped) == (2, 2)


def test_a_small_difference_shows_in_pairs_though_the_means_overlap() -> None:
    shifted = [value + 0.01 for value in VALUES]
    assert mean_interval(shifted).low < mean_interval(VALUES).high
    assert verdict(shifted, VALUES) == "better"
    assert verdict(VALUES, shifted) == "worse"


def test_equal_or_merely_noisy_is_a_tie() -> None:
    assert verdict(VALUES, VALUES) == "tie"
    noise = np.random.default_rng(2).normal(0, 0.1, size=21)
    assert verdict(VALUES, (np.asarray(VALUES) + noise - noise.mean()).tolist()) == "tie"


def test_wrong_calls_are_named() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_interval([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="got 95"):
        mean_interval(VALUES, confidence=95)
