"""Searches to be broken: real ones, on the tiny model, in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.results.records import read_epochs, read_trials

SPACE = """
fixed: {lora.dropout: 0.0}
space:
  optimizer.lr: {log_uniform: [1.0e-5, 3.0e-3]}
  lora.r: {choice: [8, 64]}
"""

_TIMES = ["seconds", "started_at", "ended_at", "it_per_s", "train_seconds", "val_seconds", "lane"]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where searches of one drill run: images, a space file, caches. Leaving it ends what a failed drill left."""

    folder: Path
    _searches: list[psutil.Popen] = field(default_factory=list)

    def __enter__(self) -> "Ground":
        return self

    def __exit__(self, *_: object) -> None:
        for search in self._searches:
            for process in [*family(search), search]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    @classmethod
    def prepare(cls, folder: Path, *, images: int = 12) -> "Ground":
        """Twelve small images and a space without dropout."""
        write_folder(folder / "data", DEMO_FAMILY, count=images, size=96, seed=0)
        (folder / "space.yaml").write_text(SPACE)
        return cls(folder=folder)

    def results(self, name: str) -> Path:
        """The results folder of a search."""
        return self.folder / "results" / name

    def start(
        self, name: str, *more: str, extra: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **numbers: int
    ) -> psutil.Popen:
        """A new search. prefix: what its command line begins with. numbers: trials, epochs, lanes, seed, folds."""
        asked = {"trials": 4, "epochs": 3, "lanes": 1, "seed": 1, "folds": 1} | numbers
        flags = [word for flag, value in asked.items() for word in (f"--{flag}", str(value))]
        places = ["--data", str(self.folder / "data"), "--space", str(self.folder / "space.yaml")]
        out = ["--out", str(self.folder / "results"), "--name", name]
        return self.command(name, "--gpus", "0", *flags, *places, *out, *more, extra=extra, prefix=prefix)

    def resume(self, name: str, *more: str) -> psutil.Popen:
        """The same search, gone on with."""
        return self.command(name, "--resume", str(self.results(name)), *more)

    def command(
        self, name: str, *arguments: str, extra: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> psutil.Popen:
        """A search process; what it says is in `said(name)`."""
        environment = os.environ | {"TUNE_SA2VA_CACHE": str(self.folder / "cache"), "PYTHONUNBUFFERED": "1"}
        with self._log(name).open("a") as log:
            search = psutil.Popen(
                [*prefix, sys.executable, "-m", "tune_sa2va.search", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | (extra or {}),
                preexec_fn=signals_as_at_a_prompt,
            )
        self._searches.append(search)
        return search

    def said(self, name: str) -> str:
        """Everything that a search and its resumptions printed."""
        return self._log(name).read_text()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def signals_as_at_a_prompt() -> None:
    """Before a program begins: drills that run in the background, or under nohup, ignore what a user would send."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def finish(process: psutil.Popen, *, within_s: float = 900) -> int:
    """The exit code of a process that ends by itself. It takes 40 s; on a machine with other work, ten times that."""
    return int(process.wait(within_s))


def wait_until(true: Callable[[], bool], *, within_s: float = 600, what: str, of: psutil.Popen | None = None) -> None:
    """Looks ten times a second. On a machine with other work a search takes minutes to begin. of: who must live."""
    deadline = time.monotonic() + within_s
    while not true():
        assert of is None or of.poll() is None, f"the search ended before: {what}"
        assert time.monotonic() < deadline, f"after {within_s} s still not: {what}"
        time.sleep(0.1)


def num_epochs(results: Path) -> int:
    """Epochs that a search has recorded."""
    return len(read_epochs(results)) if (results / "epochs.parquet").exists() else 0


def family(process: psutil.Popen) -> list[psutil.Process]:
    """All processes below a search: Ray's, the owners' and the workers'."""
    return process.children(recursive=True) if process.is_running() else []


def is_gone(process: psutil.Process) -> bool:
    """Ended, or a zombie that nobody waits for here."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def outcome(results: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and epochs of a search, without what no two runs share: times and lanes."""
    trials, epochs = read_trials(results, None), read_epochs(results, None)
    return trials.drop(columns=_TIMES, errors="ignore"), epochs.drop(columns=_TIMES, errors="ignore")
