"""Reads `test_scores.parquet`, the scores on the locked test part: means, and how the winner compares with the others.

The terminal, summary.txt, the report, the model card and `load_results` all use this file, so that they say the same.
`score.test_part` writes `test_scores.parquet`. Imports neither Ray nor torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.bootstrap import Interval, mean_interval
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.evaluate.paired import Comparison, compare, sentence

SCORES_FILE = "test_scores.parquet"
OPENINGS = b"openings"
"""Key of the file's metadata: how often models were scored on the test part."""

UNTUNED, RECIPE, WINNER = "untuned base", "recipe", "winner"
"""Values of the column `row`: the model that was scored."""

AT_DEFAULT, AT_OWN = "default", "own"
"""Values of the column `at`, the threshold used: Sa2VA's 0.5, or the one chosen for the model on images that it was not
trained on."""

MASKS_FOLDER = "test_masks"
"""Folder of predicted masks, test_masks/<row>/<mask_name>: 0 or 255, at the image's original resolution."""

_COLUMNS = (
    *("row", "checkpoint", "image_code", "group_code", "text", "threshold", "tp", "fp", "fn", "tn"),
    *("cl_dice", "hd95_px", "betti_error"),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """A score of one image. digits: decimals shown. about: a description for the report."""

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
DICE = MEASURES[0]
OVERLAP = ("dice", "iou", "recall", "precision")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScores:
    """Scores of one model on the test images that were asked for one text.

    means: measure's column -> mean over images. num_absent: images without the target. num_false_alarms: images of
    these in which vessel is predicted. Both count in the means: 1 if nothing is predicted, otherwise 0.
    """

    means: dict[str, Interval]
    num_images: int
    num_absent: int
    num_false_alarms: int

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "TextScores":
        """Computes them from the rows of one model and text."""
        absent = rows[rows["tp"] + rows["fn"] == 0]
        return cls(
            means={m.column: _mean(rows, m) for m in MEASURES},
            num_images=len(rows),
            num_absent=len(absent),
            num_false_alarms=int((absent["fp"] > 0).sum()),
        )

    @property
    def absent_in_words(self) -> str:
        """`2 of 9 (1 false alarm)`; empty if the target is in every image."""
        if not self.num_absent:
            return ""
        alarms = f"{self.num_false_alarms} false alarm{'' if self.num_false_alarms == 1 else 's'}"
        return f"{self.num_absent} of {self.num_images} ({alarms})"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LockedPart:
    """The locked test part's scores.

    scores: one row per model and test image (and text) at threshold 0.5, with counts, Dice, IoU, recall and precision.
    own: the same at each model's own threshold; empty if an older tune_sa2va wrote the file.
    openings: how often models were scored on this part; 1 unless the winner changed.
    """

    scores: pd.DataFrame
    own: pd.DataFrame
    openings: int

    @property
    def means(self) -> dict[str, dict[str, Interval]]:
        """Row -> measure's column -> mean over texts of the mean over images, with its bootstrap interval over groups.

        Rows are in the order of the file.
        """
        return _means(self.scores)

    @property
    def means_at_own(self) -> dict[str, tuple[float, dict[str, Interval]]]:
        """Row -> the model's own threshold, and the means at that threshold."""
        thresholds = self.own.groupby("row", sort=False)["threshold"].first()
        return {row: (float(thresholds[row]), found) for row, found in _means(self.own).items()}

    @property
    def texts(self) -> list[str]:
        """What the images were asked for, sorted."""
        return sorted(map(str, self.scores["text"].unique()))

    @property
    def of_texts(self) -> dict[str, "dict[str, TextScores]"]:
        """Row -> text -> its scores; empty if all images were asked for the same and it is absent in none."""
        scores = self.scores
        if scores["text"].nunique() < 2 and (scores["tp"] + scores["fn"]).all():
            return {}
        return {
            str(row): {str(text): TextScores.of(rows) for text, rows in own.groupby("text")}
            for row, own in scores.groupby("row", sort=False)
        }

    def against(self, other: str) -> dict[str, Comparison]:
        """Measure's column -> comparison of the winner with another row on the same images; empty without such a row.

        If the recipe won, it has no row of its own, and there is nothing to compare.
        """
        rows = self.paired(other)
        return {} if rows.empty else {m.column: compare_measure(m, rows) for m in MEASURES}

    def paired(self, other: str) -> pd.DataFrame:
        """One row per image and text with every measure twice, as `_winner` and `_other`, and `group_code`."""
        winner, others = (self.scores[self.scores["row"] == row] for row in (WINNER, other))
        return pair(winner, others)

    @property
    def verdict(self) -> str:
        """How the winner compares with the recipe and the untuned base by Dice, in words."""
        pairs = {other: self.paired(other) for other in (RECIPE, UNTUNED)}
        found = {f"the {other}": compare_measure(DICE, rows) for other, rows in pairs.items() if not rows.empty}
        return sentence(found) if found else ""

    @property
    def opened(self) -> str:
        """How often the part was opened, in words.

        A search that was extended and has a new winner opens it again. For a search warm-started on the same images,
        the openings of the earlier search count, too.
        """
        return "once" if self.openings == 1 else f"{self.openings} times in all"


def read_locked_part(folder: Path) -> LockedPart | None:
    """The test part of the search in a results folder; None while it has not been scored.

    Raises:
        ResultsError: the file is damaged, or of another version.
    """
    path = folder / SCORES_FILE
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        table.validate(full=True)  # raises for invalid text, at which pandas would fail later
        openings = int((table.schema.metadata or {}).get(OPENINGS, b"1"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ResultsError(f"{path}: cannot be read ({str(error).splitlines()[0]}). Put back a copy of it.") from error
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise ResultsError(
            f"{path}: lacks the columns {', '.join(missing)}: another tune_sa2va wrote it. "
            "Read it with that one, or run the search again under another --name."
        )
    scores = _with_overlap(table.to_pandas())
    at = scores["at"] if "at" in table.column_names else pd.Series(AT_DEFAULT, index=scores.index)
    scores = scores[[*_COLUMNS, *OVERLAP]]
    return LockedPart(scores=scores[at == AT_DEFAULT], own=scores[at == AT_OWN], openings=openings)


def pair(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Joins the rows of the same images. Measures end in `_winner` (of `first`) or `_other`; groups are of `first`.

    A group's code depends on all of its images, so two searches may have different codes for one patient.
    """
    others = second.drop(columns="group_code")
    return first.merge(others, on=["image_code", "text"], suffixes=("_winner", "_other"), validate="one_to_one")


def compare_measure(measure: Measure, rows: pd.DataFrame) -> Comparison:
    """Compares the two sides of rows from `pair` by one measure."""
    first, second = (rows[f"{measure.column}_{side}"].tolist() for side in ("winner", "other"))
    groups, texts = rows["group_code"].tolist(), rows["text"].tolist()
    return compare(first, second, groups, texts, higher_is_better=measure.higher_is_better)


def mask_name(image_code: str, text: str, texts: Sequence[str]) -> str:
    """A mask's file name: the image's code and, with several texts, the number of its text in sorted order, from 1.

    texts: all texts of the test part.
    """
    return f"{image_code}.png" if len(texts) < 2 else f"{image_code}-{sorted(texts).index(text) + 1}.png"


def _means(scores: pd.DataFrame) -> dict[str, dict[str, Interval]]:
    return {str(row): {m.column: _mean(own, m) for m in MEASURES} for row, own in scores.groupby("row", sort=False)}


def _mean(rows: pd.DataFrame, measure: Measure) -> Interval:
    return mean_interval(rows[measure.column].tolist(), rows["group_code"].tolist(), rows["text"].tolist())


def _with_overlap(scores: pd.DataFrame) -> pd.DataFrame:
    counts = [
        Counts(tp=tp, fp=fp, fn=fn, tn=tn)
        for tp, fp, fn, tn in scores[["tp", "fp", "fn", "tn"]].itertuples(index=False, name=None)
    ]
    return scores.assign(**{name: [getattr(c, name) for c in counts] for name in OVERLAP})
