"""What a search prints while it runs: on a terminal a live table of its lanes, elsewhere a line per epoch.

It reads the records of trials, as `tune_sa2va.status` does from another shell, but keeps the epochs in memory: reading
300 trials of 15 epochs at each event would take 70 ms.
"""

import dataclasses
import math
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from rich.console import Console, RenderableType
from rich.live import Live

from tune_sa2va.errors import UserError
from tune_sa2va.printable import printable
from tune_sa2va.results.records import read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.watch.encoding_progress import Encoding
from tune_sa2va.watch.estimate import Estimate, estimate_end
from tune_sa2va.watch.gpus import Gpu, gpus_here
from tune_sa2va.watch.live_table import end_words, show
from tune_sa2va.watch.read import plan_of, with_folds_done
from tune_sa2va.watch.view import Epoch, View, epoch_of
from tune_sa2va.words import count

_GPU_POLL_S = 5.0
_ENCODING_POLL_S = 2.0
_FRAMES_PER_S = 1
_NO_EPOCHS = pd.DataFrame()


class Screen:
    """Prints events as they come. Call `close` to restore the terminal. quiet: print only what goes wrong."""

    def __init__(self, settings: SearchSettings, *, quiet: bool = False, console: Console | None = None) -> None:
        self._settings, self._quiet = settings, quiet
        self._console = console or Console(highlight=False)
        self._plan = plan_of(settings)
        self._started_at = datetime.now(UTC)
        self._gpus: tuple[Gpu, ...] = ()
        self._closed = threading.Event()
        self._epochs: dict[tuple[str, int], Epoch] = {}
        self._read_epochs()
        self._update()
        self._state = "running"
        self._live: Live | None = None
        if self._console.is_terminal and not quiet:
            self._live = Live(
                get_renderable=self._picture,
                console=self._console,
                transient=True,
                refresh_per_second=_FRAMES_PER_S,
            )
            self._live.start()
            if settings.gpus and settings.address is None:  # nvidia-smi sees only the GPUs of this machine
                threading.Thread(target=self._watch_gpus, name="gpus", daemon=True).start()
        if not quiet and not self._epochs and settings.address is None:  # other machines have their own caches
            threading.Thread(target=self._watch_encoding, name="encoding", daemon=True).start()

    def started(self, trial_id: str) -> None:
        """A trial starts, for the first time or again."""
        self._read_epochs()  # resuming may have dropped some epochs from the records
        self._update()

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any]) -> None:
        """A trial has finished an epoch. record: the fields of `EpochRecord`."""
        epoch = record["epoch"]
        row = {"trial_id": trial_id, "lane": lane, "ended_at": datetime.now(UTC), **record}
        self._epochs.pop((trial_id, epoch), None)  # epochs stay in the order in which they ended
        self._epochs[trial_id, epoch] = epoch_of(row)
        self._update()
        if self._live is None:
            best = self._view.best
            found = f"best {best.best_val_dice:.4f} (trial {best.trial_id})" if best else "no score yet"
            self._say(
                f"trial {trial_id}  epoch {epoch}/{self._plan.epochs}  val Dice {record['val_dice']:.4f}  "
                f"loss {record['train_loss']:.4f}  {found}  {end_words(self._estimate)}"
            )
        if record["warning"]:
            self._say(f"trial {trial_id}  epoch {epoch}: {record['warning']}")

    def ended(self, trial_id: str, state: str, reason: str = "") -> None:
        """A trial has ended. reason: of a FAILED one."""
        self._update()
        both = (*self._view.trials, *self._view.reruns)
        trial = next(trial for trial in both if trial.trial_id == trial_id)
        best = "" if math.isnan(trial.best_val_dice) else f", val Dice {trial.best_val_dice:.4f}"
        why = f": {reason}" if reason else ""
        self._say(f"trial {trial_id}  {state} after {count(trial.epochs, 'epoch')}{best}{why}", wrong=bool(reason))

    def interrupted(self, trial_id: str, reason: str) -> None:
        """A trial has lost its workers and will go on from its last checkpoint."""
        self._update()
        self._say(f"trial {trial_id}  goes on from its last checkpoint: {reason}", wrong=True)

    def lanes(self, lanes: int, *, before: int) -> None:
        """The number of lanes that the cluster can hold has changed. before: the number until now."""
        what = "A node was lost" if lanes < before else "A node came back"
        self._say(f"{what}: the search goes on with {lanes} of {self._settings.lanes} lanes.", wrong=True)

    def seats(self, lane: str, notes: Iterable[str], warnings: Iterable[str]) -> None:
        """A lane has measured how many seats it has, or has fewer from now on. notes, warnings: what it tells."""
        self._plan = plan_of(self._settings)
        for note in notes:
            self._say(f"{lane}: {note}")
        for warning in warnings:
            self._say(f"{lane}: {warning}", wrong=True)

    def close(self) -> None:
        """Removes the table from the terminal."""
        self._closed.set()
        if self._live:
            self._live.stop()
            self._live = None

    def _say(self, line: str, *, wrong: bool = False) -> None:
        if wrong or not self._quiet:
            # soft_wrap: the terminal wraps long lines
            self._console.print(printable(line), markup=False, soft_wrap=True)

    def _read_epochs(self) -> None:
        done = self._read(read_epochs(self._settings.folder, None)).epochs
        self._epochs = {(epoch.trial_id, epoch.epoch): epoch for epoch in done}

    def _update(self) -> None:
        """Reads the current state of the search."""
        self._view = dataclasses.replace(self._read(_NO_EPOCHS), epochs=tuple(self._epochs.values()))
        self._estimate = self._estimated(datetime.now(UTC))

    def _read(self, epochs: pd.DataFrame) -> View:
        return View.of(self._plan, read_trials(self._settings.folder, None), epochs)

    def _estimated(self, now: datetime) -> Estimate | None:
        budget_s = self._plan.time_budget_s
        ends_at = self._started_at + timedelta(seconds=budget_s) if budget_s is not None else None
        return estimate_end(self._view, now, budget_ends_at=ends_at)

    def _picture(self) -> RenderableType:
        view = with_folds_done(self._view, self._settings.checkpoints)
        return show(view, datetime.now(UTC), self._estimate, self._gpus, self._state, runs=True)

    def _watch_encoding(self) -> None:
        """Shows how many images are encoded until all are: this may take minutes before the first epoch."""
        try:
            encoding = Encoding(self._settings)
        except (UserError, OSError):  # the lanes meet the same error and report it
            return
        is_said = False
        while True:
            try:
                present, total = encoding.count()
            except OSError:  # a file system went away; the lanes report it
                return
            if present == total or self._epochs or self._closed.is_set():
                break
            self._state = f"encoding images once, {present:,} of {total:,}"
            if self._live is None and not is_said:  # only the live table counts up; a log gets one line
                self._say(self._state)
                is_said = True
            self._closed.wait(_ENCODING_POLL_S)
        self._state = "running"

    def _watch_gpus(self) -> None:
        while not self._closed.is_set():
            self._gpus = gpus_here()
            self._closed.wait(_GPU_POLL_S)
