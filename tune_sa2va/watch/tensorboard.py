"""TensorBoard's event files, `tensorboard/<trial_id>/` of a results folder: `tensorboard --logdir` opens them as is.

Ray's own writer puts them among Tune's files, under names with `ray/tune/` before them and steps that start again after
a restore; here a step is an epoch, and a name a column of `epochs.parquet`. Not tensorboardX's `SummaryWriter`, whose
thread dies of a full disk, after which a write waits for ever.
"""

import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import hparams, scalar

from tune_sa2va.config import TrialConfig
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision

FOLDER = "tensorboard"


class TensorBoardFiles:
    """A run a trial; its configuration is a row of the HParams page, with its last Val Dice."""

    def __init__(self, results: Path) -> None:
        self._folder = results / FOLDER
        self._writers: dict[str, EventsWriter] = {}
        self._configs: dict[str, TrialConfig] = {}

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """A trial that starts anew starts a new curve."""
        self._close(trial_id)
        folder = self._folder / trial_id
        if not epochs:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        # Names of files have their second only: the suffix keeps two writers of one second apart.
        self._writers[trial_id] = EventsWriter(str(folder / "events"), f".after-{epochs}")
        self._configs[trial_id] = config
        if epochs:  # what a killed search wrote of later epochs is not shown: they are told again
            start = Event(step=epochs + 1, session_log=SessionLog(status=SessionLog.START))
            self._writers[trial_id].write_event(start)

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """A point on each curve, on the disk."""
        writer = self._writers[trial_id]
        for name, value in record.items():
            if name != "epoch" and isinstance(value, float) and math.isfinite(value):
                point = Event(wall_time=time.time(), step=record["epoch"], summary=scalar(name, value))
                writer.write_event(point)
        writer.flush()

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """The next lane's epochs go into a file of their own."""
        self._close(trial_id)

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """Writes the row of the HParams page."""
        if trial_id in self._writers:
            values = {path: _plain(value) for path, value in self._configs[trial_id].flat().items()}
            # Of the metric only the name is written: the page takes the value from its curve.
            for summary in hparams(values, {"val_dice": 0.0}):
                self._writers[trial_id].write_event(Event(wall_time=time.time(), summary=summary))
        self._close(trial_id)

    def close(self) -> None:
        """Trials that are under way go on in new files."""
        for trial_id in list(self._writers):
            self._close(trial_id)

    def _close(self, trial_id: str) -> None:
        if writer := self._writers.pop(trial_id, None):
            writer.close()


def _plain(value: Any) -> str | float | bool:
    """What the page takes: lists are named."""
    return value if isinstance(value, str | int | float | bool) else str(value)
