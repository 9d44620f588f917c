"""Which checkpoint a search exports, and whether that is the recipe. Only trials in `trials.parquet` can win."""

from dataclasses import dataclass

from tune_sa2va.errors import ResultsError
from tune_sa2va.export import TrialCheckpoint, best_of_search, find_checkpoints
from tune_sa2va.propose.confirmation import Confirmation, best_configurations
from tune_sa2va.results.records import read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.against_recipe import Standing, against_recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What a search exports, and the recipe beside it. If reruns confirmed the best, both checkpoints are of reruns.

    winner: the checkpoint to export. is_recipe: the winner's configuration is the recipe. recipe: the checkpoint of the
    recipe; None if it is not on the disk. missing_better: ids of trials that have at least the winner's Val Dice, but
    no checkpoint on the disk. standing: the comparison of the best with the recipe; None with one split, if the recipe
    is the best, or if it has no checkpoint.
    """

    winner: TrialCheckpoint
    is_recipe: bool
    recipe: TrialCheckpoint | None
    missing_better: tuple[str, ...]
    standing: Standing | None


def choose(settings: SearchSettings, confirmation: Confirmation | None) -> Chosen:
    """The winner by the search's tables. With folds it is the recipe, unless the best configuration beats it.

    confirmation: that of the search; None if it has none.

    Raises:
        ResultsError: all trials failed before the end of an epoch, or the confirmed winner's checkpoint is gone.
    """
    space, trials, checkpoints = settings.search_space, read_trials(settings.folder), find_checkpoints(settings.folder)
    if not checkpoints:
        raise ResultsError(
            f"{settings.folder}: no trial finished an epoch, so there is nothing to export. trials.parquet has the "
            "reasons."
        )
    rows = {str(row["trial_id"]): row for row in trials.to_dict("records")}
    confirmed = None if confirmation is None else confirmation.winner
    if confirmed is not None:
        winning_trial, rerun = confirmed.trial_id, confirmed.best_rerun.trial_id
        found = [checkpoint for checkpoint in checkpoints if checkpoint.trial_id == rerun]
        if not found:
            raise ResultsError(
                f"{settings.folder}: the checkpoint of the winner, {rerun}, is missing. Put back a copy of it, or "
                "export another trial: python -m tune_sa2va.export --trial."
            )
        winner = found[0]
    else:
        winner = best_of_search(settings.folder, checkpoints)
        winning_trial = winner.trial_id
    by_trial = {checkpoint.trial_id: checkpoint for checkpoint in checkpoints if checkpoint.trial_id in rows}
    recipe = next((trial_id for trial_id, row in rows.items() if space.is_recipe(row)), "")  # "": it never ran
    ranked = best_configurations(trials, len(trials))
    missing_better = () if confirmed is not None else tuple(
        row["trial_id"] for row in ranked
        if row["trial_id"] not in by_trial and row["best_val_dice"] >= winner.val_dice
    )  # fmt: skip
    recipe_checkpoint, recipe_runs = by_trial.get(recipe), [recipe]
    best_runs = [winner.trial_id]
    if confirmation is not None and confirmed is not None:
        best_runs = confirmed.runs
        rerun_recipe = confirmation.recipe
        recipe_runs = rerun_recipe.runs if rerun_recipe is not None and rerun_recipe.is_whole else []
        recipe_checkpoint = next((each for each in checkpoints if each.trial_id in recipe_runs[:1]), None)
    is_recipe, standing = space.is_recipe(rows[winning_trial]), None
    # Only with folds: on the few patients of one split's validation part the rule keeps the recipe so often that half
    # of a search's gain is lost, and bad exports are no rarer (docs/how-it-works.md, from `bench replay`).
    if not is_recipe and recipe_checkpoint is not None and (settings.folds or 1) > 1:
        standing = against_recipe(settings, best_runs, recipe_runs)
        if not standing.is_beaten:
            winner, is_recipe = recipe_checkpoint, True
    return Chosen(
        winner=winner,
        is_recipe=is_recipe,
        recipe=recipe_checkpoint,
        missing_better=missing_better,
        standing=standing,
    )
