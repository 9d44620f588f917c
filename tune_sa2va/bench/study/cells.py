"""Runs the searches of a study, several in parallel, each in its own process. Unfinished searches are resumed.

At its end a search has exported its adapter and scored the locked part; `evaluate` then scores its ensemble there, too.
A deadline stops the searches with SIGTERM, as a batch system would; the next call resumes them.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tune_sa2va.bench.study.rows import FOLDED, SEARCHES, SearchRow
from tune_sa2va.config import Frozen
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import UserError
from tune_sa2va.results.settings import SearchSettings

PLAN_FILE = "study.json"
_STOPPED, _POLL_S = 128 + signal.SIGTERM, 0.2


class StudyPlan(Frozen):
    """The plan of a study. It is stored in the study's folder, so that a later call continues the same study."""

    data: str
    model: str = "tiny"
    seeds: int = Field(default=5, ge=1)
    trials: int = Field(default=24, ge=1)
    epochs: int = Field(default=15, ge=1)
    rows: tuple[str, ...] = tuple(row.key for row in SEARCHES)

    def save(self, folder: Path) -> None:
        """Writes the plan, or checks that the one in `folder` is the same.

        Raises:
            UserError: the folder holds another study.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path, text = folder / PLAN_FILE, json.dumps(self.model_dump(mode="json"), indent=1) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise UserError(f"--out {folder}: holds another study ({PLAN_FILE}). Give the same flags, or a new folder.")
        write_whole(path, text.encode())


@dataclass(frozen=True, slots=True)
class Cell:
    """One search of a study."""

    row: SearchRow
    seed: int

    @property
    def name(self) -> str:
        """The name of its results folder."""
        return f"{self.row.key}-{self.seed}"


def cells_of(plan: StudyPlan) -> list[Cell]:
    """All searches of a study, seed by seed, so that an unfinished study is usable."""
    return [Cell(row, seed) for seed in range(plan.seeds) for row in SEARCHES if row.key in plan.rows]


def is_done(folder: Path, cell: Cell) -> bool:
    """Whether the search has ended, and its ensemble, if it needs one, is scored."""
    results = folder / cell.name
    wanted = [results / "summary.txt", *([ensemble_scores(folder, cell.seed)] if _has_ensemble(results, cell) else [])]
    return all(path.is_file() for path in wanted)


def ensemble_scores(folder: Path, seed: int) -> Path:
    """The file with the ensemble's scores on the locked part, as `evaluate --json` prints them."""
    return folder / f"ensemble-{seed}.json"


def run_cells(
    plan: StudyPlan, folder: Path, *, place: Sequence[str], processes: int, minutes: float | None
) -> list[Cell]:
    """Runs the unfinished searches, and returns those that are still unfinished.

    place: flags of a search that choose its GPUs or CPUs. processes: searches that run in parallel. minutes: stop them
    after this time; None: no limit.

    Raises:
        UserError: a command failed.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    todo = [cell for cell in cells_of(plan) if not is_done(folder, cell)]
    with ThreadPoolExecutor(processes) as threads:
        list(threads.map(lambda cell: _run(plan, folder, cell, place, deadline), todo))
    return [cell for cell in todo if not is_done(folder, cell)]


def _run(plan: StudyPlan, folder: Path, cell: Cell, place: Sequence[str], deadline: float | None) -> None:
    results = folder / cell.name
    if not (results / "summary.txt").is_file():
        if (results / "search.yaml").is_file():
            command = ["tune_sa2va.search", "--resume", str(results)]
        else:
            asked = {"data": plan.data, "model": plan.model, "trials": plan.trials, "epochs": plan.epochs}
            asked |= {"seed": cell.seed, "out": folder, "name": cell.name}
            flags = [word for flag, value in asked.items() for word in (f"--{flag}", str(value))]
            command = ["tune_sa2va.search", *flags, *place, *cell.row.flags_for(plan.epochs), "--no-report"]
        if _call(command, folder, cell, deadline) is None:
            return
    if _has_ensemble(results, cell) and not ensemble_scores(folder, cell.seed).is_file():
        adapter = folder / f"ensemble-{cell.seed}"
        export = ["tune_sa2va.export", "--run", str(results), "--final", "ensemble", "--to", str(adapter)]
        if _call(export, folder, cell, deadline) is None:
            return
        evaluate = ["--model", plan.model, "--adapter", str(adapter), "--data", plan.data, "--part", "test", "--json"]
        if (said := _call(["tune_sa2va.evaluate", *evaluate], folder, cell, deadline)) is not None:
            write_whole(ensemble_scores(folder, cell.seed), said)


def _has_ensemble(results: Path, cell: Cell) -> bool:
    has_begun = cell.row.key == FOLDED and (results / "search.yaml").is_file()
    return has_begun and (SearchSettings.load(results).folds or 1) > 1


def _call(command: Sequence[str], folder: Path, cell: Cell, deadline: float | None) -> bytes | None:
    """Runs one of our commands and returns its standard output, None if the deadline ended it; stderr goes to a log.

    Raises:
        UserError: it failed; the log says why.
    """
    if deadline is not None and time.monotonic() > deadline:
        return None
    log = folder / f"{cell.name}.log"
    with log.open("ab") as said:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=said
        )
        timer = None
        if deadline is not None:
            timer = threading.Timer(max(0.0, deadline - time.monotonic()), process.send_signal, [signal.SIGTERM])
            timer.start()
        out, _ = process.communicate()
        if timer is not None:
            timer.cancel()
    if process.returncode == 0:
        return out
    if deadline is not None and time.monotonic() > deadline:
        return None
    raise UserError(f"{' '.join(command)}: ended with exit code {process.returncode}, wanted 0. {log} says why.")
