"""Scores against scikit-learn's, and cases with a denominator of 0."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from tune_sa2va.evaluate.metrics import Counts, Scores, count, mean_scores

EMPTY = np.zeros((4, 5), dtype=bool)
FULL = np.ones((4, 5), dtype=bool)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_scores_agree_with_scikit_learn(share: float) -> None:
    random = np.random.default_rng(7)
    truth, mask = random.random((2, 31, 47)) < share
    counts = count(mask, truth)
    assert (counts.tn, counts.fp, counts.fn, counts.tp) == tuple(confusion_matrix(truth.ravel(), mask.ravel()).ravel())
    assert counts.dice == pytest.approx(f1_score(truth.ravel(), mask.ravel()), abs=1e-12)
    assert counts.iou == pytest.approx(jaccard_score(truth.ravel(), mask.ravel()), abs=1e-12)
    assert counts.recall == pytest.approx(recall_score(truth.ravel(), mask.ravel()), abs=1e-12)
    assert counts.precision == pytest.approx(precision_score(truth.ravel(), mask.ravel()), abs=1e-12)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_scores_lie_between_0_and_1(tp: int, fp: int, fn: int, tn: int) -> None:
    counts = Counts(tp, fp, fn, tn)
    assert all(0.0 <= score <= 1.0 for score in (counts.dice, counts.iou, counts.recall, counts.precision))
    assert counts.dice == pytest.approx(2 * counts.iou / (1 + counts.iou))
    assert counts.is_absent == (tp + fn == 0)
    assert counts.is_false_alarm == (tp + fn == 0 < fp)
    if counts.is_absent:
        assert counts.dice == (0.0 if counts.is_false_alarm else 1.0)


def test_an_empty_prediction_of_a_real_vessel_is_0_and_not_skipped() -> None:
    counts = count(EMPTY, FULL)
    assert (counts.dice, counts.iou, counts.recall, counts.precision) == (0.0, 0.0, 0.0, 0.0)


def test_a_claim_where_nothing_is_scores_0() -> None:
    counts = count(FULL, EMPTY)
    assert (counts.dice, counts.iou, counts.recall, counts.precision) == (0.0, 0.0, 0.0, 0.0)


def test_an_absent_target_is_right_where_nothing_is_predicted() -> None:
    scores = mean_scores([count(FULL, FULL), count(EMPTY, EMPTY), count(FULL, EMPTY), count(EMPTY, FULL)])
    assert scores == Scores(
        dice=0.5, iou=0.5, recall=0.5, precision=0.5, num_images=4, num_absent=2, num_false_alarms=1
    )


def test_texts_weigh_the_same_however_many_images_they_have() -> None:
    counts = [count(FULL, FULL)] * 3 + [count(EMPTY, FULL)]
    assert mean_scores(counts).dice == 0.75
    assert mean_scores(counts, ["vein"] * 3 + ["artery"]).dice == 0.5
    assert mean_scores(counts, ["vein"] * 4) == mean_scores(counts)
    with pytest.raises(ValueError):
        mean_scores(counts, ["vein"])


def test_no_image_gives_nan() -> None:
    scores = mean_scores([])
    assert math.isnan(scores.dice) and math.isnan(scores.precision)
    assert (scores.num_images, scores.num_absent) == (0, 0)


def test_each_image_weighs_the_same_whatever_its_size() -> None:
    small, large = Counts(tp=1, fp=0, fn=0, tn=0), Counts(tp=0, fp=0, fn=1_000_000, tn=0)
    assert mean_scores([small, large]).dice == 0.5


def test_shapes_and_types_must_fit() -> None:
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(5, 4\)"):
        count(EMPTY, EMPTY.T)
    with pytest.raises(ValueError, match="must be bool, got float64"):
        count(EMPTY.astype(float), EMPTY)
