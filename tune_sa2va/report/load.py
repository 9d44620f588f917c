"""The files of a results folder as one checked record, from which a report is computed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tune_sa2va.errors import ResultsError
from tune_sa2va.propose.confirmation import Confirmation, read_confirmation
from tune_sa2va.propose.warm_start import Inherited, read_inherited
from tune_sa2va.report.shown_names import ShownNames
from tune_sa2va.results.load import read_split_table
from tune_sa2va.results.records import TrialKind, TrialState, lane_seconds, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import LockedPart, read_locked_part
from tune_sa2va.space.rerun import called


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One search, read from its results folder."""

    folder: Path
    settings: SearchSettings
    environment: dict[str, Any]
    """`environment.json`; empty if there is none."""
    trials: pd.DataFrame
    """The table of `read_trials` sorted by number, with an extra column `label` ("trial 0003", as in logs). Cells with
    several values are lists."""
    epochs: pd.DataFrame
    """The table of `read_epochs`, with extra columns `number` and `label` of the trial."""
    locked: LockedPart | None
    """Scores of the test part; None while it has not been scored."""
    exported_id: str | None
    """Id of the exported trial or rerun; None while nothing is exported."""
    winner_id: str | None
    """Id of the exported trial, or of the trial that an exported rerun repeats; None while nothing is exported."""
    confirmation: Confirmation | None
    """The reruns of the best; None if none were asked for."""
    reruns: pd.DataFrame
    """Like `trials`, but of the reruns; labels are "rerun 0012-seed1"."""
    rerun_epochs: pd.DataFrame
    """Like `epochs`, but of the reruns."""
    recipe_id: str | None
    """Id of the trial that is the recipe; None if it never started."""
    choice: str
    """How the exported trial compares with the recipe, in sentences; empty if they were not compared."""
    inherited: Inherited | None
    """What a warm start gave the sampler; None without a warm start."""
    names: ShownNames
    split: pd.DataFrame
    """`split.parquet`: one row per image, with codes and parts; empty if the file is missing."""

    @property
    def confirmation_s(self) -> float:
        """Lane time of all reruns, in seconds."""
        return float(lane_seconds(self.rerun_epochs).sum())

    @property
    def winner_name(self) -> str:
        """The winner's name in sentences; empty while there is none."""
        return "" if self.exported_id is None else called(self.exported_id)

    @property
    def winner(self) -> dict[str, Any] | None:
        """The row of the trial `winner_id`; None while there is none."""
        return self._row(self.winner_id)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The row of the trial `recipe_id`; None if there is none."""
        return self._row(self.recipe_id)

    @property
    def scored(self) -> pd.DataFrame:
        """The trials that have a Val Dice and can win. A FAILED trial cannot, however good it was."""
        return self.trials[self.trials["best_val_dice"].notna() & (self.trials["state"] != TrialState.FAILED)]

    def _row(self, trial_id: str | None) -> dict[str, Any] | None:
        rows = self.trials[self.trials["trial_id"] == trial_id].to_dict("records")
        return {str(column): value for column, value in rows[0].items()} if rows else None


def load_run(folder: Path, *, show_names: bool) -> Run:
    """Reads a results folder. The search may still run, and all its trials may have failed.

    show_names: whether file names may be shown instead of codes.

    Raises:
        UserError: it is no results folder, no trial has started, or a file is damaged or of another version.
    """
    settings = SearchSettings.load(folder)
    trials, epochs = _labelled(folder, TrialKind.SEARCH, "trial")
    reruns, rerun_epochs = _labelled(folder, TrialKind.CONFIRMATION, "rerun")
    if trials.empty:
        raise ResultsError(
            f"{folder}: no trial has started yet, so there is nothing to report. Wait for the first one."
        )
    exported = _read_json(folder / "best_adapter" / "tune_sa2va.json")
    winner = exported.get("trial")
    return Run(
        folder=folder,
        settings=settings,
        environment=_read_json(folder / "environment.json"),
        trials=trials,
        epochs=epochs,
        locked=read_locked_part(folder),
        exported_id=winner,
        winner_id=dict(zip(reruns["trial_id"], reruns["parent"], strict=True)).get(winner, winner),
        confirmation=read_confirmation(settings),
        reruns=reruns,
        rerun_epochs=rerun_epochs,
        recipe_id=settings.search_space.find_recipe(trials.to_dict("records")),
        inherited=read_inherited(folder),
        choice=str(exported.get("choice", "")),
        names=ShownNames.read(folder, show=show_names),
        split=read_split_table(folder),
    )


def _labelled(folder: Path, kind: TrialKind, word: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials of one kind sorted by number, and their epochs, both with labels that begin with `word`."""
    trials = read_trials(folder, kind).sort_values("number").reset_index(drop=True)
    for column in ("lora.target_modules", "train.full_modules"):
        trials[column] = [list(cell) for cell in trials[column]]
    trials["label"] = [f"{word} {trial_id}" for trial_id in trials["trial_id"]]
    epochs = read_epochs(folder, kind).merge(trials[["trial_id", "number", "label"]], on="trial_id")
    return trials, epochs.sort_values(["number", "epoch"]).reset_index(drop=True)


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if the search has not written the file yet."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}). Put back a copy of it, or delete it.") from error
    return content
