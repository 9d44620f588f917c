"""Which state a search exports, and whether that is the recipe: by its tables, `trials.parquet` above all."""

from dataclasses import dataclass

from tune_sa2va.errors import ResultsError
from tune_sa2va.export import TrialCheckpoint, best_of_search, find_checkpoints
from tune_sa2va.propose.confirmation import Confirmation, best_configurations
from tune_sa2va.results.records import read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.against_recipe import Standing, against_recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """winner: the state to export, of a rerun where the best was confirmed. is_recipe: the winner aims at the recipe.

    recipe: its state, of a rerun where the best was confirmed; None where its checkpoint is not on the disk. gone:
    trials that come before the best by Val Dice, but whose checkpoints are not on the disk. standing: of the recipe
    against the best; None where the recipe is the best, or has no state.
    """

    winner: TrialCheckpoint
    is_recipe: bool
    recipe: TrialCheckpoint | None
    gone: tuple[str, ...]
    standing: Standing | None


def choose(settings: SearchSettings, confirmation: Confirmation | None) -> Chosen:
    """By the search's tables: what they do not know is not exported. With folds the recipe stands unless it is
    beaten.

    Raises:
        ResultsError: no trial that did not fail has finished an epoch, or the confirmed winner's checkpoint is gone.
    """
    space, trials, checkpoints = settings.search_space, read_trials(settings.folder), find_checkpoints(settings.folder)
    if not checkpoints:
        raise ResultsError(
            f"{settings.folder}: no trial finished an epoch; trials.parquet has the reasons. Nothing to export."
        )
    rows = {str(row["trial_id"]): row for row in trials.to_dict("records")}
    confirmed = None if confirmation is None else confirmation.winner
    if confirmed is not None:
        parent, rerun = confirmed.trial_id, confirmed.best_rerun.trial_id
        found = [checkpoint for checkpoint in checkpoints if checkpoint.trial_id == rerun]
        if not found:
            raise ResultsError(
                f"{settings.folder}: the winner is {rerun}, but its checkpoint is gone. Put back a copy of it, or "
                "export another --trial by hand."
            )
        winner = found[0]
    else:
        winner = best_of_search(settings.folder, checkpoints)
        parent = winner.trial_id
    of_search = {checkpoint.trial_id: checkpoint for checkpoint in checkpoints if checkpoint.trial_id in rows}
    recipe = next((trial_id for trial_id, row in rows.items() if space.is_recipe(row)), "")
    ahead = best_configurations(trials, len(trials))
    gone = () if confirmed is not None else tuple(
        row["trial_id"] for row in ahead
        if row["trial_id"] not in of_search and row["best_val_dice"] >= winner.val_dice
    )  # fmt: skip
    recipe_state, recipe_runs = of_search.get(recipe), [recipe]
    best_runs = [winner.trial_id]
    if confirmation is not None and confirmed is not None:
        best_runs = confirmed.runs
        again = confirmation.recipe
        recipe_runs = again.runs if again is not None and again.is_whole else []
        recipe_state = next((each for each in checkpoints if each.trial_id in recipe_runs[:1]), None)
    is_recipe, standing = space.is_recipe(rows[parent]), None
    # With folds alone: on the few patients of one split's validation part the rule keeps the recipe so often that half
    # of what a search gains is lost, and no fewer exports are truly worse (docs/how-it-works.md, from `bench replay`).
    if not is_recipe and recipe_state is not None and (settings.folds or 1) > 1:
        standing = against_recipe(settings, best_runs, recipe_runs)
        if not standing.is_beaten:
            winner, is_recipe = recipe_state, True
    return Chosen(winner=winner, is_recipe=is_recipe, recipe=recipe_state, gone=gone, standing=standing)
