"""The end of a search: the best adapter exported, and the table that says whether it is better than the recipe."""

import io
import tempfile
from pathlib import Path

import numpy as np
import ray
from ray.exceptions import RayTaskError
from rich.console import Console
from rich.table import Table

from tune_sa2va.data.split_file import NAMES_FILE
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.bootstrap import Interval
from tune_sa2va.export import FreshScores, TrialCheckpoint, export_adapter, verify
from tune_sa2va.lane.messages import Files, read_files, write_files
from tune_sa2va.propose.confirmation import confirmation_words, read_confirmation
from tune_sa2va.results.settings import FILE_NAME as SETTINGS_FILE
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import MEASURES, OVERLAP, RECIPE, UNTUNED, WINNER, LockedPart, read_locked_part
from tune_sa2va.score.choice import Chosen, choose
from tune_sa2va.score.test_part import Contender, score_test_part

_SHOWN = [measure for measure in MEASURES if measure.column in OVERLAP]


def finish(settings: SearchSettings) -> None:
    """Export the winner of the search, score winner, recipe and untuned base on the test part, print the table.

    Inside a running Ray, which scores and checks the export.

    Raises:
        UserError: no trial of the search has finished an epoch, or the export's check refused it.
    """
    folder = settings.folder
    confirmation = read_confirmation(settings)
    chosen = choose(settings, confirmation)
    contenders = [Contender(row=UNTUNED, checkpoint=UNTUNED, adapter=None)]
    if chosen.recipe is not None and not chosen.is_recipe:
        contenders.append(_contender(RECIPE, chosen.recipe))
    score_test_part(settings, [*contenders, _contender(WINNER, chosen.winner)])
    locked = read_locked_part(folder)
    assert locked is not None, "it has just been scored"
    text = _report(settings, chosen, locked)
    if confirmation is not None:
        text += "".join(f"{sentence}\n" for sentence in confirmation_words(confirmation))
    (folder / "summary.txt").write_text(text)
    print(text, end="", flush=True)
    _export(settings, chosen.winner)  # last: its card has the scores, and its check may refuse


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


def _report(settings: SearchSettings, chosen: Chosen, locked: LockedPart) -> str:
    winner = chosen.winner
    images, groups = locked.scores["image_code"].nunique(), locked.scores["group_code"].nunique()
    table = Table(
        title=f"Test part, scored {locked.opened}: {images} images of {groups} groups, "
        "mean [95% bootstrap interval over groups]"
    )
    for heading in ("", "epoch", "Val Dice", *(measure.label for measure in _SHOWN)):
        table.add_column(heading, no_wrap=True)
    checkpoints = {UNTUNED: None, RECIPE: chosen.recipe, WINNER: winner}
    for row, means in locked.means.items():
        checkpoint = checkpoints[row]
        known = ("", "") if checkpoint is None else (str(checkpoint.epoch), f"{checkpoint.val_dice:.3f}")
        table.add_row(row, *known, *(_cell(means[measure.column]) for measure in _SHOWN))
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(table)
    console.print(_conclusion(chosen, locked), soft_wrap=True)
    console.print(f"Winner: trial {winner.trial_id}, {_differences(settings, winner)}", soft_wrap=True)
    console.print(f"Adapter: {settings.folder / 'best_adapter'}", soft_wrap=True)
    return console.export_text()


def _conclusion(chosen: Chosen, locked: LockedPart) -> str:
    said = [locked.verdict]
    if chosen.is_recipe:
        said.insert(0, "The recipe itself won.")
    elif chosen.recipe is None:
        said.append("The recipe was not scored: its checkpoint is not on the disk.")
    if chosen.gone:
        said.append(f"Better by Val Dice, but without a checkpoint on the disk, were: {', '.join(chosen.gone)}.")
    return " ".join(said)


def _differences(settings: SearchSettings, winner: TrialCheckpoint) -> str:
    values = winner.config.flat()
    return ", ".join(f"{path} = {values[path]:.3g}" if isinstance(values[path], float) else f"{path} = {values[path]}"
                     for path in settings.search_space.counting(values))  # fmt: skip


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
