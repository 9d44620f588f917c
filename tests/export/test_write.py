"""How much an export may differ from its record, and whose test scores its card has."""

import dataclasses
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune_sa2va.config import RECIPE, PlainPrecision, Precision
from tune_sa2va.errors import NotReproducedError
from tune_sa2va.evaluate.tuned import Verification
from tune_sa2va.export.checkpoints import TrialCheckpoint
from tune_sa2va.export.verify import FreshScores, Proof
from tune_sa2va.export.write import _test_scores, _verify

CHECKPOINT = TrialCheckpoint(folder=Path("x"), trial_id="0003", epoch=2, val_dice=0.8, config=RECIPE, can_win=True)
TEXTS = ["vessel"]


def verify(scores: FreshScores, *, merged: bool = False, searched_in: Precision | None = None) -> Verification:
    texts, proof = TEXTS[: len(scores.default_counts)], Proof(merged=merged)
    return _verify(CHECKPOINT, scores, texts, Path("to"), proof, searched_in or scores.precision)


def fresh(dice: float, precision: PlainPrecision) -> FreshScores:
    """Counts of one image of 100 million vessel pixels with this Dice: 2 TP / (2 TP + FN). No image for NaN."""
    tp = 0 if math.isnan(dice) else round(dice * 1e8 / (2 - dice))
    counts = [] if math.isnan(dice) else [[tp, 0, 100_000_000 - tp, 0]]
    return FreshScores(default_counts=counts, chosen_counts=counts, threshold=0.5, precision=precision, device="cpu")


@pytest.mark.parametrize(
    ("precision", "merged", "tolerance"), [("fp32", False, 1e-6), ("bf16", False, 2e-3), ("fp32", True, 5e-3)]
)
def test_more_than_rounding_is_not_published(precision: PlainPrecision, merged: bool, tolerance: float) -> None:
    for sign in (1, -1):
        near = verify(fresh(0.8 + sign * 0.9 * tolerance, precision), merged=merged)
        assert near.difference == pytest.approx(0.9 * tolerance, rel=0.02) and near.tolerance == tolerance
        with pytest.raises(NotReproducedError, match="0003, epoch 2"):
            verify(fresh(0.8 + sign * 1.1 * tolerance, precision), merged=merged)


@pytest.mark.parametrize("merged", [False, True])
def test_after_a_search_in_fp8_the_other_precision_is_allowed_for_and_said(merged: bool) -> None:
    near = verify(fresh(0.781, "bf16"), merged=merged, searched_in="fp8")
    assert (near.tolerance, near.precision, near.searched_in) == (2e-2, "bf16", "fp8")
    assert verify(fresh(0.8, "bf16")).searched_in is None
    with pytest.raises(NotReproducedError, match=r"recorded 0.800000 in fp8; .* at most 2e-02 \(bf16, cpu\)"):
        verify(fresh(0.779, "bf16"), merged=merged, searched_in="fp8")


def test_nothing_to_score_is_not_reproduced() -> None:
    with pytest.raises(NotReproducedError):
        verify(fresh(math.nan, "fp32"))


def test_the_test_scores_are_this_checkpoints(tmp_path: Path) -> None:
    assert _test_scores(tmp_path, CHECKPOINT.label) == {}
    rows = [
        {"row": row, "checkpoint": checkpoint, "image_code": image, "group_code": image, "text": "vessel",
         "threshold": 0.5, "tp": tp, "fp": 0, "fn": 10 - tp, "tn": 5,
         "cl_dice": 0.5, "hd95_px": 1.0, "betti_error": 0.0}
        for row, checkpoint, counts in (
            ("recipe", "0003, epoch 2", (8, 6)),  # one checkpoint in two rows
            ("untuned base", "0003, epoch 1", (1, 1)),
            ("winner", "0003, epoch 2", (8, 6)),
        )
        for image, tp in zip(("a", "b"), counts, strict=True)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test_scores.parquet")
    found = _test_scores(tmp_path, CHECKPOINT.label)
    assert found["test"].num_images == 2 and found["test"].recall.mean == pytest.approx(0.7)
    other = dataclasses.replace(CHECKPOINT, epoch=1)
    assert _test_scores(tmp_path, other.label)["test"].recall.mean == pytest.approx(0.1)


def test_an_image_that_is_asked_for_two_things_is_one_image(tmp_path: Path) -> None:
    rows = [
        {"row": "winner", "checkpoint": CHECKPOINT.label, "image_code": image, "group_code": "g", "text": text,
         "threshold": 0.5, "tp": 1, "fp": 0, "fn": 0, "tn": 5, "cl_dice": 0.5, "hd95_px": 1.0, "betti_error": 0.0}
        for image in ("a", "b")
        for text in ("vessel", "bone")
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test_scores.parquet")
    assert _test_scores(tmp_path, CHECKPOINT.label)["test"].num_images == 2
