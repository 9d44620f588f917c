"""Which configurations are confirmed, and what their reruns show: computed from `trials.parquet` only.

A search picks the best of many scores, so its best is partly luck of the seed, which decides the adapters'
initialization and the order of the images. Therefore the best few run again with other seeds, and the best mean wins.
The score of a rerun is that of the same epoch as for any other trial (`results.best`).

The exported adapter is that of the winner's best rerun. The rerun nearest to the mean would not do: of two reruns both
are equally near, and of more it would be a worse adapter for no reason. The best rerun's Val Dice is again a maximum
and so optimistic. The unbiased score is that of the test part, which is used for no choice.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tune_sa2va.results.records import TrialKind, TrialState, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.rerun import rerun_id
from tune_sa2va.words import count

_SEED_LIMIT = 2**31


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """One rerun. state: None if it has not started. val_dice: the score that counts, in [0, 1]; NaN before an epoch."""

    trial_id: str
    seed: int
    state: TrialState | None
    val_dice: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """One of the best trials of the search, or the recipe, with its reruns in the order of their seeds.

    val_dice: its score in the search. stopped_after: the last epoch of a trial that the search stopped early; None if
    it ran to the end.
    """

    trial_id: str
    val_dice: float
    stopped_after: int | None
    reruns: tuple[Rerun, ...]
    is_recipe: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every rerun ran to its last epoch."""
        return all(rerun.state is TrialState.COMPLETE for rerun in self.reruns)

    @property
    def mean(self) -> float:
        """Mean Val Dice of the reruns; NaN unless all are complete."""
        return statistics.fmean(rerun.val_dice for rerun in self.reruns) if self.is_whole else math.nan

    @property
    def spread(self) -> float:
        """Difference in Val Dice between the highest and the lowest rerun; NaN unless all are complete."""
        values = [rerun.val_dice for rerun in self.reruns]
        return max(values) - min(values) if self.is_whole else math.nan

    @property
    def runs(self) -> list[str]:
        """Ids of the reruns, best first."""
        return [rerun.trial_id for rerun in sorted(self.reruns, key=lambda rerun: -rerun.val_dice)]

    @property
    def best_rerun(self) -> Rerun:
        """The rerun whose adapter is exported if this finalist wins."""
        return max(self.reruns, key=lambda rerun: rerun.val_dice)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The finalists, best of the search first. The recipe is always one, last if it is not among the best."""

    finalists: tuple[Finalist, ...]

    @property
    def recipe(self) -> Finalist | None:
        """The recipe's finalist; None if the recipe failed in the search."""
        return next((finalist for finalist in self.finalists if finalist.is_recipe), None)

    @property
    def is_over(self) -> bool:
        """Whether every rerun completed or failed. A rerun that the time budget stopped is not over."""
        ends = (TrialState.COMPLETE, TrialState.FAILED)
        return bool(self.finalists) and all(r.state in ends for finalist in self.finalists for r in finalist.reruns)

    @property
    def winner(self) -> Finalist | None:
        """The finalist with the best mean; None if the confirmation is not over or every finalist has a failed rerun.

        With None the search's own best stays the winner. A finalist with a failed rerun cannot win, since whether it
        trains depends on its seed.
        """
        whole = [finalist for finalist in self.finalists if finalist.is_whole]
        return max(whole, key=lambda finalist: finalist.mean, default=None) if self.is_over else None


def read_confirmation(settings: SearchSettings) -> Confirmation | None:
    """The confirmation of a search so far; None if none was asked for or no trial has ended well."""
    if not settings.confirm:
        return None
    reruns = read_trials(settings.folder, TrialKind.CONFIRMATION).to_dict("records")
    ran = {(str(row["parent"]), int(row["train.seed"])): row for row in reruns}
    trials = read_trials(settings.folder)
    finalists, recipe = [], settings.search_space.find_recipe(trials.to_dict("records"))
    for row in to_confirm(settings, trials):
        parent = str(row["trial_id"])
        own = tuple(_rerun(parent, seed, ran.get((parent, seed))) for seed in seeds_of(row, settings.seeds))
        stopped_after = int(row["epochs"]) if row["state"] == TrialState.STOPPED else None
        finalists.append(
            Finalist(
                trial_id=parent,
                val_dice=row["best_val_dice"],
                stopped_after=stopped_after,
                reruns=own,
                is_recipe=parent == recipe,
            )
        )
    return Confirmation(tuple(finalists)) if finalists else None


def to_confirm(settings: SearchSettings, trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the trials that run again: the best configurations, and the recipe as the baseline."""
    best = best_configurations(trials, settings.confirm)
    recipe = settings.search_space.find_recipe(trials.to_dict("records"))
    if any(row["trial_id"] == recipe for row in best):
        return best
    return best + best_configurations(trials[trials["trial_id"] == recipe], 1)


def best_configurations(trials: pd.DataFrame, number: int) -> list[dict[str, Any]]:
    """Rows of the best trials by Val Dice that did not fail, at most `number`, best first.

    Each configuration appears once. Ties go to the earlier trial.
    """
    ended = trials[trials["state"].isin([TrialState.COMPLETE, TrialState.STOPPED]) & trials["best_val_dice"].notna()]
    found: dict[str, dict[str, Any]] = {}
    for row in ended.sort_values(["best_val_dice", "number"], ascending=[False, True]).to_dict("records"):
        plain = {str(column): value for column, value in row.items()}
        found.setdefault(_configuration(plain), plain)
    return list(found.values())[:number]


def seeds_of(row: Mapping[str, Any], number: int) -> list[int]:
    """The seeds of a trial's reruns: the `number` seeds after its own. Finalists with equal seeds get equal seeds."""
    return [(int(row["train.seed"]) + more) % _SEED_LIMIT for more in range(1, number + 1)]


def confirmation_words(confirmation: Confirmation) -> list[str]:
    """The outcome in sentences: how lucky the search's own best was, who won, and whether that is certain."""
    first, winner = confirmation.finalists[0], confirmation.winner
    reruns = [rerun for finalist in confirmation.finalists for rerun in finalist.reruns]
    if not confirmation.is_over:
        complete = sum(rerun.state is TrialState.COMPLETE for rerun in reruns)
        return [
            f"The confirmation is not complete: {complete} of {len(reruns)} reruns ran to their last epoch. So the "
            "best trial of the search counts as the winner, and its score may be luck."
        ]
    said = [_luck(first)]
    if winner is None:
        return [*said, "Every finalist failed with some seed, so the best trial of the search stays the winner."]
    verb = "keeps" if winner is first else "prefers"
    against = f" against {first.mean:.3f}" if winner is not first and first.is_whole else ""
    said.append(f"The confirmation {verb} trial {winner.trial_id}, by its mean of {winner.mean:.3f}{against}.")
    whole = sorted((f for f in confirmation.finalists if f.is_whole), key=lambda f: f.mean, reverse=True)
    if len(whole) > 1 and (gap := whole[0].mean - whole[1].mean) <= (spread := max(f.spread for f in whole[:2])):
        said.append(
            f"The two best means differ by {gap:.3f}, and reruns of one configuration by up to {spread:.3f}: with so "
            "few seeds the two configurations cannot be told apart."
        )
    return said


def _luck(first: Finalist) -> str:
    """How much of the score of the search's own best was luck, in a sentence."""
    who = f"The search's own best, trial {first.trial_id}, had Val Dice {first.val_dice:.3f} in the search"
    if not first.is_whole:
        return f"{who}, and failed with another seed."
    reruns = f"{first.mean:.3f} as the mean of its {count(len(first.reruns), 'rerun')}"
    if first.stopped_after is not None:
        return (
            f"{who}, where it was stopped after epoch {first.stopped_after}, and {reruns}, which ran to the end. The "
            "two scores are of different epochs, so they say nothing about luck."
        )
    luck = first.val_dice - first.mean
    verdict = f"{luck:.3f} of its score was luck" if round(luck, 3) > 0 else "its score was no luck"
    return f"{who} and {reruns}: {verdict}."


def _rerun(parent: str, seed: int, row: Mapping[Any, Any] | None) -> Rerun:
    if row is None:
        return Rerun(trial_id=rerun_id(parent, seed), seed=seed, state=None, val_dice=math.nan)
    return Rerun(
        trial_id=row["trial_id"], seed=seed, state=TrialState(row["state"]), val_dice=float(row["best_val_dice"])
    )


def _configuration(row: Mapping[str, Any]) -> str:
    """A key that is equal for rows with equal values in all fields but the seed."""
    return str([list(v) if isinstance(v, np.ndarray) else v for p, v in row.items() if "." in p and p != "train.seed"])
