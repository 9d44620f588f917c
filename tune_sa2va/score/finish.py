"""The end of a search: the best adapter exported, and the table that says whether it is better than the recipe."""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import ray
from ray.exceptions import RayTaskError
from rich.console import Console
from rich.table import Table

from tune_sa2va.data.split_file import NAMES_FILE
from tune_sa2va.errors import ResultsError, UserError
from tune_sa2va.evaluate.bootstrap import Interval, mean_interval, verdict
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.export import FreshScores, TrialCheckpoint, export_adapter, find_checkpoints, verify
from tune_sa2va.lane.messages import Files, read_files, write_files
from tune_sa2va.propose.confirmation import Confirmation, confirmation_words, read_confirmation
from tune_sa2va.results.records import TrialKind, read_trials
from tune_sa2va.results.settings import FILE_NAME as SETTINGS_FILE
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.test_part import Contender, TestScores, read_scores, score_test_part

UNTUNED, RECIPE, WINNER = "untuned base", "recipe", "winner"
_MEASURES = ("dice", "iou", "recall", "precision")
_WORDS = {"better": "better than", "worse": "worse than", "tie": "a tie with"}


def finish(settings: SearchSettings) -> None:
    """Export the winner of the search, score winner, recipe and untuned base on the test part, print the table.

    Inside a running Ray, which scores and checks the export.

    Raises:
        UserError: no trial of the search has finished an epoch, or the export's check refused it.
    """
    folder = settings.folder
    confirmation = read_confirmation(settings)
    checkpoints = find_checkpoints(folder)
    if not checkpoints:
        raise ResultsError(f"{folder}: no trial finished an epoch; trials.parquet has the reasons. Nothing to export.")
    winner, parent = _winner_of(settings, checkpoints, confirmation)
    recipe = _recipe_of(settings, checkpoints)
    contenders = [Contender(row=UNTUNED, checkpoint=UNTUNED, adapter=None)]
    if recipe is not None and recipe.trial_id != parent:
        contenders.append(_contender(RECIPE, recipe))
    score_test_part(settings, [*contenders, _contender(WINNER, winner)])
    text = _report(settings, winner, recipe, read_scores(folder))
    if confirmation is not None:
        text += "".join(f"{sentence}\n" for sentence in confirmation_words(confirmation))
    (folder / "summary.txt").write_text(text)
    print(text, end="", flush=True)
    _export(settings, winner)  # last: its card has the scores, and its check may refuse


def _winner_of(
    settings: SearchSettings, checkpoints: list[TrialCheckpoint], confirmation: Confirmation | None
) -> tuple[TrialCheckpoint, str]:
    """The state to export, of a rerun where the best was confirmed; and the trial of the search that it stands for."""
    if confirmation is not None and (confirmed := confirmation.winner) is not None:
        rerun = confirmed.best_rerun.trial_id
        return next(checkpoint for checkpoint in checkpoints if checkpoint.trial_id == rerun), confirmed.trial_id
    reruns = set(read_trials(settings.folder, TrialKind.CONFIRMATION)["trial_id"])
    best = next(checkpoint for checkpoint in checkpoints if checkpoint.trial_id not in reruns)
    return best, best.trial_id


def _export(settings: SearchSettings, winner: TrialCheckpoint) -> None:
    """The check of the export runs on a device of the cluster, like the scoring: no GPU may be here.

    Raises:
        NotReproducedError: the export does not score what the search recorded.
    """
    # No CPUs are asked for: a lane that is still being put away would be waited for.
    task = ray.remote(num_cpus=0, num_gpus=1 if settings.gpus else 0, max_retries=1)(_verify)

    def verify_there(run: Path, folder: Path, *, merged: bool) -> FreshScores:
        known = {name: np.fromfile(run / name, dtype=np.uint8) for name in (SETTINGS_FILE, NAMES_FILE)}
        proof: FreshScores = ray.get(task.remote(ray.put(known), ray.put(read_files(folder)), merged))
        return proof

    try:
        export_adapter(settings.folder, winner, settings.folder / "best_adapter", verify=verify_there)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):  # its own sentence, without the traceback that Ray puts before it
            raise error.cause from error
        raise


def _verify(known: Files, export: Files, merged: bool) -> FreshScores:
    """On a node that need not see the results folder. known: its files that a proof reads. export: what is proved."""
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-export-") as name:
        run, folder = Path(name) / "run", Path(name) / "export"
        write_files(known, run)
        write_files(export, folder)
        return verify(run, folder, merged=merged)


def _contender(row: str, checkpoint: TrialCheckpoint) -> Contender:
    name = f"{checkpoint.trial_id}, epoch {checkpoint.epoch}"
    return Contender(row=row, checkpoint=name, adapter=read_files(checkpoint.folder / "adapter"))


def _recipe_of(settings: SearchSettings, checkpoints: list[TrialCheckpoint]) -> TrialCheckpoint | None:
    recipe = settings.trial_config(settings.search_space.recipe_point())
    return next((checkpoint for checkpoint in checkpoints if checkpoint.config == recipe), None)


def _report(
    settings: SearchSettings,
    winner: TrialCheckpoint,
    recipe: TrialCheckpoint | None,
    test: TestScores,
) -> str:
    scores = test.counts
    # A search that was extended and has a new winner opens the locked part again, and one that was warm-started finds
    # it opened by the search before; then it is no longer unseen.
    times = "once" if test.openings == 1 else f"{test.openings} times in all"
    table = Table(title=f"Test part, scored {times}: {len(scores[WINNER])} images, mean [95% bootstrap interval]")
    for heading in ("", "epoch", "Val Dice", *(measure.capitalize() for measure in _MEASURES)):
        table.add_column(heading, no_wrap=True)
    checkpoints = {UNTUNED: None, RECIPE: recipe, WINNER: winner}
    for label, counts in scores.items():
        checkpoint = checkpoints[label]
        known = ("", "") if checkpoint is None else (str(checkpoint.epoch), f"{checkpoint.val_dice:.3f}")
        table.add_row(label, *known, *(_cell(_intervals(counts)[measure]) for measure in _MEASURES))
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(table)
    console.print(_conclusion(scores), soft_wrap=True)
    console.print(f"Winner: trial {winner.trial_id}, {_differences(settings, winner)}", soft_wrap=True)
    console.print(f"Adapter: {settings.folder / 'best_adapter'}", soft_wrap=True)
    return console.export_text()


def _conclusion(scores: Mapping[str, list[Counts]]) -> str:
    def dices(label: str) -> list[float]:
        return [counts.dice for counts in scores[label]]

    said = [
        f"{_WORDS[verdict(dices(WINNER), dices(other))]} the {other}" for other in (RECIPE, UNTUNED) if other in scores
    ]
    start = "The winner is " if RECIPE in scores else "The recipe itself won. It is "
    return f"{start}{' and '.join(said)} by Dice (paired over images)."


def _differences(settings: SearchSettings, winner: TrialCheckpoint) -> str:
    values = winner.config.flat()
    return ", ".join(f"{path} = {values[path]:.3g}" if isinstance(values[path], float) else f"{path} = {values[path]}"
                     for path in settings.search_space.dimensions)  # fmt: skip


def _intervals(counts: list[Counts]) -> dict[str, Interval]:
    return {measure: mean_interval([getattr(c, measure) for c in counts]) for measure in _MEASURES}


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
