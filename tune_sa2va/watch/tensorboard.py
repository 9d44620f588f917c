"""Writes TensorBoard's event files to `tensorboard/<trial_id>/` of a results folder, for `tensorboard --logdir`.

A step is an epoch, and a tag is a column of `epochs.parquet`. Ray's own writer puts the files among Tune's, prefixes
the tags with `ray/tune/`, and its steps start again after a restore. tensorboardX's `SummaryWriter` is not used: its
thread dies when the disk is full, and the next write then waits for ever.
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
    """A listener that writes one TensorBoard run per trial, with its configuration and Val Dice on the HParams page."""

    def __init__(self, results: Path) -> None:
        self._folder = results / FOLDER
        self._writers: dict[str, EventsWriter] = {}
        self._configs: dict[str, TrialConfig] = {}

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """Opens the trial's files. A trial that starts from the beginning replaces its old curves."""
        self._close(trial_id)
        folder = self._folder / trial_id
        if not epochs:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        # File names hold the time in seconds; the suffix separates two writers of one second.
        self._writers[trial_id] = EventsWriter(str(folder / "events"), f".after-{epochs}")
        self._configs[trial_id] = config
        if epochs:  # hides later epochs that a killed search wrote; they will come again
            start = Event(step=epochs + 1, session_log=SessionLog(status=SessionLog.START))
            self._writers[trial_id].write_event(start)

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """Writes a point of each curve, and flushes."""
        writer = self._writers[trial_id]
        for name, value in record.items():
            if name != "epoch" and isinstance(value, float) and math.isfinite(value):
                point = Event(wall_time=time.time(), step=record["epoch"], summary=scalar(name, value))
                writer.write_event(point)
        writer.flush()

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """Closes the file; the next lane's epochs go into a new one."""
        self._close(trial_id)

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """Writes the row of the HParams page."""
        if trial_id in self._writers:
            values = {path: _plain(value) for path, value in self._configs[trial_id].flat().items()}
            # Only the metric's name matters: the page takes the value from its curve.
            for summary in hparams(values, {"val_dice": 0.0}):
                self._writers[trial_id].write_event(Event(wall_time=time.time(), summary=summary))
        self._close(trial_id)

    def close(self) -> None:
        """Closes all files; running trials will go on in new ones."""
        for trial_id in list(self._writers):
            self._close(trial_id)

    def _close(self, trial_id: str) -> None:
        if writer := self._writers.pop(trial_id, None):
            writer.close()


def _plain(value: Any) -> str | float | bool:
    """A value that the page accepts; a list becomes text."""
    return value if isinstance(value, str | int | float | bool) else str(value)
