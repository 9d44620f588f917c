"""Which state a search exports, and whether that is the recipe: by its tables, `trials.parquet` above all."""

from dataclasses import dataclass

from tune_sa2va.errors import ResultsError
from tune_sa2va.export import TrialCheckpoint, best_of_search, find_checkpoints
from tune_sa2va.propose.confirmation import Confirmation, best_configurations
from tune_sa2va.results.records import read_trials
from tune_sa2va.results.settings import SearchSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """winner: the state to export, of a rerun where the best was confirmed. is_recipe: the winner aims at the recipe.

    recipe: the search's own trial of it; None where its checkpoint is not on the disk. gone: trials that come before
    the winner by Val Dice, but whose checkpoints are not on the disk.
    """

    winner: TrialCheckpoint
    is_recipe: bool
    recipe: TrialCheckpoint | None
    gone: tuple[str, ...]


def choose(settings: SearchSettings, confirmation: Confirmation | None) -> Chosen:
    """By the search's tables: what they do not know is not exported.

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
    return Chosen(winner=winner, is_recipe=space.is_recipe(rows[parent]), recipe=of_search.get(recipe), gone=gone)
