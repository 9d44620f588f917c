"""The end of a search: exports the best adapter, and prints the table that compares it with the recipe."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import ray

from tune_sa2va.data.split_file import NAMES_FILE
from tune_sa2va.durable import write_whole
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.export import FreshScores, Proof, TrialCheckpoint, export_adapter, verify, write_final
from tune_sa2va.export.checkpoints import ADAPTER_FILES, copy_checked
from tune_sa2va.lane.messages import Files, FilesRef, read_files, unpack_folder, write_files
from tune_sa2va.propose.confirmation import confirmation_words, read_confirmation
from tune_sa2va.results.settings import FILE_NAME as SETTINGS_FILE
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import RECIPE, UNTUNED, WINNER, read_locked_part
from tune_sa2va.score.choice import Chosen, choose
from tune_sa2va.score.refit import refit
from tune_sa2va.score.summary import summary
from tune_sa2va.score.tasks import result_of
from tune_sa2va.score.test_part import Contender, score_test_part


def finish(settings: SearchSettings) -> None:
    """Scores winner, recipe and untuned base on the test part, prints the table, and exports the winner.

    Needs a running Ray, in which the scoring and the check of the export run.

    Raises:
        UserError: no trial of the search has finished an epoch, or the check of the export failed.
    """
    folder = settings.folder
    confirmation = read_confirmation(settings)
    chosen = choose(settings, confirmation)
    if settings.final_form == "refit":
        for checkpoint in filter(None, (chosen.winner, chosen.recipe)):
            refit(settings, checkpoint)
    contenders = [Contender(row=UNTUNED, checkpoint=UNTUNED)]
    if chosen.recipe is not None and not chosen.is_recipe:
        contenders.append(_contender(RECIPE, chosen.recipe, settings.final_form))
    score_test_part(settings, [*contenders, _contender(WINNER, chosen.winner, settings.final_form)])
    locked = read_locked_part(folder)
    assert locked is not None, "it has just been scored"
    text = summary(settings, chosen, locked)
    if confirmation is not None:
        text += "".join(f"{sentence}\n" for sentence in confirmation_words(confirmation))
    write_whole(folder / "summary.txt", text.encode())
    print(text, end="", flush=True)
    _export(settings, chosen)  # last, because the model card has the scores, and the check may fail


def _export(settings: SearchSettings, chosen: Chosen) -> None:
    """Exports the winner. The export is checked on a device of the cluster, since this machine may have no GPU.

    Raises:
        NotReproducedError: the export does not reproduce the score that the search recorded.
    """
    # The task asks for no CPUs: otherwise it would wait for lanes that are still shutting down.
    task = ray.remote(num_cpus=0, num_gpus=1 if settings.gpus else 0, max_retries=1)(_verify)

    def verify_there(run: Path, folder: Path, proof: Proof) -> FreshScores:
        known = {name: np.fromfile(run / name, dtype=np.uint8) for name in (SETTINGS_FILE, NAMES_FILE)}
        members = tuple((ray.put(read_files(member)),) for member in proof.members)
        found: FreshScores = result_of(task.remote(ray.put(known), ray.put(read_files(folder)), members, proof))
        return found

    to = settings.folder / "best_adapter"
    choice = "" if chosen.standing is None else chosen.standing.words
    final = settings.final_form
    export_adapter(settings.folder, chosen.winner, to, final=final, choice=choice, verify=verify_there)


def _verify(known: Files, export: Files, members: tuple[FilesRef, ...], proof: Proof) -> FreshScores:
    """Runs the check on a node that need not see the results folder.

    known: the files of that folder that the check reads. export: the files to check. members: the files of each member
    of `proof`.
    """
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-export-") as name:
        run, folder = Path(name) / "run", Path(name) / "export"
        write_files(known, run)
        write_files(export, folder)
        there = tuple(Path(name) / "members" / str(number) for number in range(len(members)))
        for place, files in zip(there, members, strict=True):
            unpack_folder(files, place)
        return verify(run, folder, replace(proof, members=there))


def _contender(row: str, checkpoint: TrialCheckpoint, final: FinalName) -> Contender:
    folds = tuple(_adapter(checkpoint, fold) for fold in range(checkpoint.folds))
    if final == "best-run" and checkpoint.folds == 1:
        return Contender(row=row, checkpoint=checkpoint.label, adapters=folds)
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-final-") as name:
        folder = Path(name) / "final"
        folder.mkdir()
        write_final(checkpoint, final, folder)
        written = [found.parent for found in sorted(folder.rglob(ADAPTER_FILES[0]))]
        adapters = tuple(_in_memory(read_files(adapter)) for adapter in written)
    return Contender(row=row, checkpoint=checkpoint.label_of(final), adapters=adapters, folds=folds)


def _adapter(checkpoint: TrialCheckpoint, fold: int) -> Files:
    """The files of a fold's adapter in a checkpoint, as the trial wrote them.

    Raises:
        CheckpointError: they are damaged or missing.
    """
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-adapter-") as name:
        copy_checked(checkpoint, Path(name), fold)
        return _in_memory(read_files(Path(name)))


def _in_memory(files: Files) -> Files:
    """Copies of the contents, which are memory-mapped from files that will be deleted."""
    return {name: np.array(content) for name, content in files.items()}
