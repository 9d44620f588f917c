"""The locked test part: each model's means, and what the winner is beside the others on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from tune_sa2va.evaluate.bootstrap import Interval, Verdict, mean_interval, paired_interval
from tune_sa2va.evaluate.metrics import Counts

UNTUNED, RECIPE, WINNER = "untuned base", "recipe", "winner"
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Measure:
    """A score of one image. `digits`: decimals shown."""

    column: str
    label: str
    higher_is_better: bool
    digits: int
    about: str


MEASURES = (
    Measure("dice", "Dice", True, 3, "overlap of prediction and truth, 0 to 1"),
    Measure("iou", "IoU", True, 3, "intersection over union, 0 to 1"),
    Measure("recall", "Recall", True, 3, "share of the vessel that was found"),
    Measure("precision", "Precision", True, 3, "share of what was found that is vessel"),
    Measure("cl_dice", "clDice", True, 3, "overlap of centre lines, 0 to 1, which cuts lower"),
    Measure("hd95_px", "HD95 (px)", False, 1, "95% Hausdorff distance of the outlines, in pixels of the original"),
    Measure("betti_error", "Betti error", False, 1, "pieces and holes too many or too few (8-connected vessel)"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The winner beside another model by one measure, paired over images."""

    measure: Measure
    other: str
    difference: Interval
    """Winner minus other."""
    p_value: float
    """Wilcoxon's signed-rank test, two-sided; 1 where all differences are 0, NaN without a pair."""
    verdict: Verdict
    """By the interval: a tie where it holds 0."""

    @property
    def test_agrees(self) -> bool:
        """Whether the signed-rank test says the same as the interval."""
        return (self.p_value < SIGNIFICANT) == (self.verdict != "tie")


def with_overlap(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of `test_scores.parquet` with Dice, IoU, recall and precision from their counts."""
    counts = [
        Counts(tp=tp, fp=fp, fn=fn, tn=tn)
        for tp, fp, fn, tn in scores[["tp", "fp", "fn", "tn"]].itertuples(index=False, name=None)
    ]
    overlap = {name: [getattr(c, name) for c in counts] for name in ("dice", "iou", "recall", "precision")}
    return scores.assign(**overlap)


def means(scores: pd.DataFrame) -> dict[str, dict[str, Interval]]:
    """Row label -> measure's column -> mean with its bootstrap interval; labels in the order of the file."""
    return {
        str(label): {m.column: mean_interval(rows[m.column].tolist()) for m in MEASURES}
        for label, rows in scores.groupby("row", sort=False)
    }


def compare(scores: pd.DataFrame, other: str) -> list[Comparison]:
    """The winner against another row of the same file, measure by measure; empty where that row is not there."""
    rows = paired(scores, other)
    if rows.empty:
        return []
    return [
        compare_values(m, other, rows[f"{m.column}_winner"].tolist(), rows[f"{m.column}_other"].tolist())
        for m in MEASURES
    ]


def paired(scores: pd.DataFrame, other: str) -> pd.DataFrame:
    """A row an image and text, with every measure twice: `_winner` and `_other`."""
    key = ["image_code", "text"]
    first, second = scores[scores["row"] == WINNER], scores[scores["row"] == other]
    return first.merge(second, on=key, suffixes=("_winner", "_other"), validate="one_to_one")


def compare_values(measure: Measure, other: str, winner: Sequence[float], others: Sequence[float]) -> Comparison:
    """The comparison of paired values; a pair with a NaN is left out."""
    difference = paired_interval(winner, others)
    return Comparison(
        measure=measure,
        other=other,
        difference=difference,
        p_value=_signed_rank(np.asarray(winner, dtype=float) - np.asarray(others, dtype=float)),
        verdict=_verdict(difference, measure.higher_is_better),
    )


def _verdict(difference: Interval, higher_is_better: bool) -> Verdict:
    if difference.low > 0.0:
        return "better" if higher_is_better else "worse"
    if difference.high < 0.0:
        return "worse" if higher_is_better else "better"
    return "tie"


def _signed_rank(differences: np.ndarray) -> float:
    kept = differences[~np.isnan(differences)]
    if not len(kept):
        return float("nan")
    if not kept.any():
        return 1.0
    return float(wilcoxon(kept).pvalue)
