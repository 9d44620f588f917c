"""Intervals over groups: compared with scipy's and with sampling of patients, and cases with too few values."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from tune_sa2va.evaluate.bootstrap import mean_interval

VALUES = np.random.default_rng(1).beta(8, 3, size=21).tolist()
EACH_ITS_OWN = list(range(21))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_with_a_group_an_image_it_is_scipys_interval(confidence: float) -> None:
    interval = mean_interval(VALUES, EACH_ITS_OWN, confidence=confidence)
    expected = bootstrap(
        (VALUES,), np.mean, confidence_level=confidence, method="BCa", n_resamples=10_000, rng=5
    ).confidence_interval
    assert interval.mean == pytest.approx(np.mean(VALUES))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=3e-3)
    assert interval.low < interval.mean < interval.high


def test_copies_of_an_image_are_no_more_evidence() -> None:
    once, copied = mean_interval(VALUES, EACH_ITS_OWN), mean_interval(VALUES * 10, EACH_ITS_OWN * 10)
    assert (copied.mean, copied.low, copied.high) == pytest.approx((once.mean, once.low, once.high))
    assert (copied.num_values, copied.num_groups) == (210, 21)


def test_the_mean_is_over_images_and_so_are_the_resampled_ones() -> None:
    values, groups = [0.2] * 8 + [0.8] * 2, ["a"] * 8 + ["b"] * 2
    interval = mean_interval(values, groups)
    assert interval.mean == pytest.approx(0.32)
    assert (interval.low, interval.high) == pytest.approx((0.2, 0.8))  # the same patient drawn twice


def test_the_seed_decides() -> None:
    assert mean_interval(VALUES, EACH_ITS_OWN, seed=3) == mean_interval(VALUES, EACH_ITS_OWN, seed=3)
    assert mean_interval(VALUES, EACH_ITS_OWN, seed=3) != mean_interval(VALUES, EACH_ITS_OWN, seed=4)


def test_nan_is_left_out_and_counted_with_its_group() -> None:
    interval, plain = mean_interval([*VALUES, math.nan], [*EACH_ITS_OWN, 21]), mean_interval(VALUES, EACH_ITS_OWN)
    assert (interval.mean, interval.low, interval.high) == (plain.mean, plain.low, plain.high)
    assert (interval.num_values, interval.num_groups, interval.num_skipped) == (21, 21, 1)


def test_one_patient_has_no_interval_and_no_image_no_mean() -> None:
    one = mean_interval([0.7, 0.9], ["a", "a"])
    assert one.mean == pytest.approx(0.8) and math.isnan(one.low) and math.isnan(one.high)
    assert math.isnan(mean_interval([], []).mean)


def test_equal_values_have_an_interval_of_no_width() -> None:
    interval = mean_interval([0.5] * 7, range(7))
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_wrong_calls_are_named() -> None:
    with pytest.raises(ValueError, match="got 21 values and 2 groups"):
        mean_interval(VALUES, [1, 2])
    with pytest.raises(ValueError, match="got 95"):
        mean_interval(VALUES, EACH_ITS_OWN, confidence=95)


class TestTexts:
    def test_one_text_changes_nothing(self) -> None:
        assert mean_interval(VALUES, EACH_ITS_OWN, ["vein"] * len(VALUES)) == mean_interval(VALUES, EACH_ITS_OWN)

    def test_the_mean_over_texts_of_means_over_images(self) -> None:
        values, texts = [0.9, 0.9, 0.9, 0.1], ["vein"] * 3 + ["artery"]
        interval = mean_interval(values, [1, 2, 3, 4], texts)
        assert interval.mean == pytest.approx(0.5)
        assert interval.low <= 0.5 <= interval.high

    def test_values_left_out_weigh_nothing(self) -> None:
        interval = mean_interval([0.9, math.nan, 0.9, 0.1], [1, 2, 3, 4], ["vein"] * 3 + ["artery"])
        assert interval.mean == pytest.approx(0.5)
        assert interval.num_skipped == 1

    def test_equal_images_have_no_spread(self) -> None:
        interval = mean_interval([0.8, 0.2] * 6, [n // 2 for n in range(12)], ["vein", "artery"] * 6)
        assert (interval.mean, interval.low, interval.high) == pytest.approx((0.5, 0.5, 0.5))

    def test_not_as_many_texts_as_values(self) -> None:
        with pytest.raises(ValueError, match="text"):
            mean_interval([0.1, 0.2], [1, 2], ["vein"])
