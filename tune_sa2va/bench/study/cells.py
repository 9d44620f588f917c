"""Runs the searches and U-Nets of a study, several in parallel, each in its own process. Unfinished ones are resumed.

At its end a search has exported its adapter and scored the locked part; `evaluate` then scores its ensemble there, too.
A deadline or an interruption stops the searches with SIGTERM, as a batch system would; the next call resumes them. A
U-Net starts again.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import Field

from tune_sa2va.bench.processes import UNCOMPILED
from tune_sa2va.bench.study.rows import BY_HAND, FOLDED, SEARCHES, UNET, SearchRow
from tune_sa2va.config import Frozen
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import UserError
from tune_sa2va.interruption import signals_as_interrupts
from tune_sa2va.results.settings import SearchSettings

PLAN_FILE = "study.json"


class StudyPlan(Frozen):
    """The plan of a study. It is stored in the study's folder, so that a later call continues the same study.

    data: as --data of a search; only its name is stored.
    """

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
        about = self.model_dump(mode="json") | {"data": Path(self.data).name}
        path, text = folder / PLAN_FILE, json.dumps(about, indent=1) + "\n"
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
    """All searches of a study, seed by seed, so that an unfinished study is usable, and the longest first."""
    return [Cell(row, seed) for seed in range(plan.seeds) for row in reversed(SEARCHES) if row.key in plan.rows]


def is_done(folder: Path, cell: Cell) -> bool:
    """Whether the search has ended, and its ensemble, if it needs one, is scored."""
    results = folder / cell.name
    wanted = [results / "summary.txt", *([ensemble_scores(folder, cell.seed)] if _has_ensemble(results, cell) else [])]
    return all(path.is_file() for path in wanted)


def ensemble_scores(folder: Path, seed: int) -> Path:
    """The file with the ensemble's scores on the locked part, as `evaluate --json` prints them."""
    return folder / f"ensemble-{seed}.json"


def unet_scores(folder: Path, seed: int) -> Path:
    """The file with the U-Net's scores on the locked part: a list of rows."""
    return folder / f"{UNET}-{seed}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a study is run, which does not change what it finds.

    place: flags of a search that choose its GPUs or CPUs. processes: searches and U-Nets that run in parallel.
    minutes: stop them after this time; None: no limit. compiled: see `bench record`.
    """

    place: Sequence[str]
    processes: int
    minutes: float | None
    compiled: bool


def run_cells(plan: StudyPlan, folder: Path, execution: Execution, *, unet_epochs: int) -> list[str]:
    """Runs the unfinished searches and then the U-Nets, and returns the names of those that are still unfinished.

    Several at a time get an equal share of the CPUs each, and their threads do not spin: 30 workers of four spinning
    threads on 32 cores had two GPUs wait half of the time. What the caller's environment says of threads is kept.

    unet_epochs: 0: no U-Net.

    Raises:
        UserError: a command failed.
        SystemExit: SIGTERM, SIGHUP or Ctrl-C arrived, and the searches have stopped.
    """
    deadline = None if execution.minutes is None else time.monotonic() + 60 * execution.minutes
    variables = {} if execution.compiled else dict(UNCOMPILED)
    if execution.processes > 1:
        share = max(1, (os.cpu_count() or 1) // execution.processes)
        threads = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_THREAD_LIMIT": str(share)}
        variables |= {name: value for name, value in threads.items() if name not in os.environ}
    runner = _Runner(plan, folder, execution.place, deadline, variables)
    cells = cells_of(plan)
    jobs = [(cell.name, runner.search, cell) for cell in cells if not is_done(folder, cell)]
    if unet_epochs:
        trained = [cell for cell in cells if cell.row.key == BY_HAND and not unet_scores(folder, cell.seed).is_file()]
        jobs += [(f"{UNET}-{cell.seed}", partial(runner.unet, epochs=unet_epochs), cell) for cell in trained]
    with signals_as_interrupts(), ThreadPoolExecutor(execution.processes) as pool:
        running = [(name, pool.submit(job, cell)) for name, job, cell in jobs]
        try:
            return [name for name, each in running if not each.result()]
        except KeyboardInterrupt:
            runner.interrupt()
            raise


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs one search or U-Net at a time in each calling thread.

    deadline: in seconds of `time.monotonic()`. variables: further environment variables of searches.
    stops: each stops a process that runs now.
    """

    plan: StudyPlan
    folder: Path
    place: Sequence[str]
    deadline: float | None
    variables: Mapping[str, str]
    interrupted: threading.Event = field(default_factory=threading.Event)
    stops: list[Callable[[], None]] = field(default_factory=list)

    def interrupt(self) -> None:
        """Stops all processes that run, and begins no other."""
        self.interrupted.set()
        for stop in list(self.stops):
            stop()

    def search(self, cell: Cell) -> bool:
        """Makes a search, and scores its ensemble if it has one. Returns whether it ended before the deadline."""
        results = self.folder / cell.name
        if not (results / "summary.txt").is_file() and self._call(self._command(cell), cell) is None:
            return False
        scores = ensemble_scores(self.folder, cell.seed)
        if not _has_ensemble(results, cell) or scores.is_file():
            return True
        adapter = self.folder / f"ensemble-{cell.seed}"
        export = ["tune_sa2va.export", "--run", str(results), "--final", "ensemble", "--to", str(adapter)]
        if self._call(export, cell) is None:
            return False
        evaluate = ["--model", self.plan.model, "--adapter", str(adapter), "--data", self.plan.data]
        said = self._call(["tune_sa2va.evaluate", *evaluate, "--part", "test", "--json"], cell)
        if said is not None:
            write_whole(scores, said)
        return said is not None

    def unet(self, cell: Cell, *, epochs: int) -> bool:
        """Trains a U-Net on the parts of a search, whose split has a validation part. Returns whether it ended.

        Raises:
            UserError: it failed, for example because MONAI is not installed.
        """
        results = self.folder / cell.name
        if not (results / "search.yaml").is_file():  # the deadline came before that search began
            return False
        from tune_sa2va.bench.study.unet import train_unet

        process = multiprocessing.get_context("spawn").Process(
            target=train_unet, args=(results, unet_scores(self.folder, cell.seed)),
            kwargs={"epochs": epochs, "seed": cell.seed},
        )  # fmt: skip
        process.start()
        with self._stoppable(process.kill):
            process.join(None if self.deadline is None else max(0.0, self.deadline - time.monotonic()))
        if process.exitcode is None or self.interrupted.is_set():
            process.kill()
            process.join()
            return False
        if process.exitcode != 0:
            raise UserError(f"The U-Net of seed {cell.seed} ended with exit code {process.exitcode}, as said above.")
        return True

    def _command(self, cell: Cell) -> list[str]:
        results = self.folder / cell.name
        if (results / "search.yaml").is_file():
            return ["tune_sa2va.search", "--resume", str(results), "--no-report"]
        plan = self.plan
        asked = {"data": plan.data, "model": plan.model, "trials": plan.trials, "epochs": plan.epochs}
        asked |= {"seed": cell.seed, "out": self.folder, "name": cell.name}
        flags = [word for flag, value in asked.items() for word in (f"--{flag}", str(value))]
        return ["tune_sa2va.search", *flags, *self.place, *cell.row.flags_for(plan.epochs), "--no-report"]

    def _call(self, command: Sequence[str], cell: Cell) -> bytes | None:
        """Runs one of our commands. Returns its standard output, None if the deadline ended it; stderr goes to a log.

        Raises:
            UserError: it failed; the log says why.
        """
        if self._is_over():
            return None
        log = self.folder / f"{cell.name}.log"
        with log.open("ab") as said:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", *command],
                stdout=subprocess.PIPE,
                stderr=said,
                env=os.environ | self.variables,
            )
            timer = None
            if self.deadline is not None:
                left_s = max(0.0, self.deadline - time.monotonic())
                timer = threading.Timer(left_s, process.send_signal, [signal.SIGTERM])
                timer.start()
            with self._stoppable(process.terminate):
                out, _ = process.communicate()
            if timer is not None:
                timer.cancel()
        if process.returncode == 0:
            return out
        if self._is_over():
            return None
        raise UserError(f"{' '.join(command)}: ended with exit code {process.returncode}, wanted 0. {log} says why.")

    @contextmanager
    def _stoppable(self, stop: Callable[[], None]) -> Iterator[None]:
        """Inside, an interruption calls `stop`; at once if there has been one."""
        self.stops.append(stop)
        try:
            if self.interrupted.is_set():
                stop()
            yield
        finally:
            self.stops.remove(stop)

    def _is_over(self) -> bool:
        """Whether no process is to begin any more."""
        return self.interrupted.is_set() or (self.deadline is not None and time.monotonic() > self.deadline)


def _has_ensemble(results: Path, cell: Cell) -> bool:
    has_begun = cell.row.key == FOLDED and (results / "search.yaml").is_file()
    return has_begun and (SearchSettings.load(results).folds or 1) > 1
