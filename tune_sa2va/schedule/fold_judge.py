"""Whether a trial's remaining folds are worth training in this epoch. Its lane asks after each fold.

The trial is compared with the best recorded trial that finished the same epoch with all folds. The recipe and reruns
are never given up, since other trials are compared with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tune_sa2va.data.split_file import Names, scored_rows
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.results.records import read_epochs
from tune_sa2va.results.val_counts import read_val_dice
from tune_sa2va.schedule.hopeless_folds import is_hopeless
from tune_sa2va.space.rerun import RERUN_OF
from tune_sa2va.words import count

LEVEL = 0.01
"""Significance level: the chance of giving up a trial that is no worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldJudge:
    """The judge of one search.

    results: its results folder, which this node must see. recipe_point: the point of the recipe. images: (image code,
    text, group code) of each scored image.
    """

    results: Path
    recipe_point: Mapping[str, Any]
    images: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, results: Path, recipe_point: Mapping[str, Any], names: Names) -> "FoldJudge":
        """The judge for the images that are scored in the split `names`."""
        rows = scored_rows(names)
        images = tuple((row["image_code"], row["text"], row["group_code"]) for row in rows)
        return cls(results=results, recipe_point=recipe_point, images=images)

    def __call__(
        self, point: Mapping[str, Any], trial_id: str, epoch: int, counts: Sequence[Sequence[int] | None]
    ) -> str:
        """Why the remaining folds are not worth training, as a sentence; empty if they are.

        point: the trial's point, as Tune has it. counts: (TP, FP, FN, TN) in pixels of each of `images`; None if its
        fold has not been trained yet.
        """
        if RERUN_OF in point or all(point.get(path) == value for path, value in self.recipe_point.items()):
            return ""
        rows = read_epochs(self.results)
        rivals = rows[(rows["epoch"] == epoch) & (rows["folds_left"] == 0) & (rows["trial_id"] != trial_id)]
        if rivals.empty:
            return ""
        best = str(rivals.sort_values("val_dice", ascending=False, kind="stable")["trial_id"].iloc[0])
        try:
            theirs = read_val_dice(self.results, best, epoch)
        except ResultsError:  # its row is written, but its counts are not yet
            return ""
        mine, to_beat, groups = [], [], []
        for (code, text, group), found in zip(self.images, counts, strict=True):
            if found is None:
                continue
            pair = Counts(*found).dice, float(theirs.get((code, text), np.nan))
            if not any(np.isnan(pair)):
                mine.append(pair[0])
                to_beat.append(pair[1])
                groups.append(group)
        if not mine or not is_hopeless(np.array(mine), np.array(to_beat), groups, level=LEVEL):
            return ""
        return (
            f"after {count(len(mine), 'image')} of {count(len(set(groups)), 'group')} val Dice is {np.mean(mine):.4f} "
            f"against {np.mean(to_beat):.4f} of trial {best}, so the other folds were not trained"
        )
