"""Compares the best configuration of a search with the recipe, on images that neither was trained on.

A search takes the best of many scores, so some trial is above the recipe by luck alone. With folds the recipe therefore
stands unless it is beaten on the same images, with groups as the unit (`score.beats_recipe`). If both ran again with
new seeds (`--confirm`), their reruns are compared, averaged over the seeds; otherwise the two trials are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tune_sa2va.data.split_file import read_names
from tune_sa2va.evaluate.bootstrap import text_weights
from tune_sa2va.evaluate.paired import Comparison, compare
from tune_sa2va.results.records import read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.val_counts import read_val_dice
from tune_sa2va.score.beats_recipe import beats_recipe
from tune_sa2va.words import count

LEVEL = 0.05
"""Significance level: the chance of exporting a configuration that is no better than the recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The best configuration compared with the recipe.

    is_beaten: the recipe is, by the best. comparison: of the best with the recipe, on `num_images` images. best_run: id
    of the run whose adapter would be exported for the best.
    """

    is_beaten: bool
    comparison: Comparison
    num_images: int
    best_run: str

    @property
    def words(self) -> str:
        """The result of the comparison and what follows from it, in sentences."""
        found = self.comparison.difference
        told = (
            f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] Dice relative to the recipe, on "
            f"{count(self.num_images, 'image')} of {count(found.num_groups, 'group')} that its adapters were not "
            "trained on"
        )
        if self.is_beaten:
            return f"Trial {self.best_run} beats the recipe: {told}."
        return (
            f"Nothing beats the recipe, so the recipe's adapter is exported. The best is trial {self.best_run}: "
            f"{told}, which may be luck. To export its adapter: python -m tune_sa2va.export --run RESULTS "
            f"--trial {self.best_run} --to DIR."
        )


def against_recipe(settings: SearchSettings, best: Sequence[str], recipe: Sequence[str]) -> Standing:
    """Compares the best configuration with the recipe.

    best, recipe: ids of the trials or reruns of each, averaged per image. The first is the one whose adapter would be
    exported.

    Raises:
        UserError: a file of the results cannot be read.
    """
    trials = read_trials(settings.folder, kind=None).set_index("trial_id")["best_epoch"]
    mine, theirs = (
        pd.concat([read_val_dice(settings.folder, run, int(trials[run])) for run in runs], axis=1).mean(axis=1)
        for runs in (best, recipe)
    )
    both = pd.concat([mine, theirs], axis=1, join="inner").dropna()
    group_of = {row["image_code"]: row["group_code"] for row in read_names(settings.folder)}
    groups, texts = [group_of[code] for code, _ in both.index], [text for _, text in both.index]
    first, second = (both.iloc[:, column].to_numpy() for column in (0, 1))
    weights = text_weights(texts)  # as in the search's objective: all texts count equally
    return Standing(
        is_beaten=len(both) > 0 and beats_recipe(first * weights, second * weights, groups, level=LEVEL),
        comparison=compare(first.tolist(), second.tolist(), groups, texts),
        num_images=len({code for code, _ in both.index}),
        best_run=best[0],
    )
