"""Writes a log for each trial, `logs/<trial_id>.log` of a results folder: configuration, epochs, decisions, end."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tune_sa2va.config import TrialConfig
from tune_sa2va.printable import printable
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision

FOLDER = "logs"


class TrialLogs:
    """A listener that appends to the logs, so that a resumed search goes on in the same files. Times are UTC."""

    def __init__(self, results: Path) -> None:
        self._folder = results / FOLDER
        self._folder.mkdir(exist_ok=True)

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """Writes the start, with the whole configuration if the trial has no epoch yet."""
        if epochs:
            self._write(trial_id, f"resumed in {lane} after epoch {epochs}")
            return
        self._write(trial_id, f"started in {lane}", *(f"{path} = {value}" for path, value in config.flat().items()))

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """Writes a line for the epoch, and one more for a warning and for a decision of ASHA."""
        peak = f", peak {record['peak_gib']:.2f} GiB" if record["peak_gib"] else ""  # 0 on a CPU
        self._write(
            trial_id,
            f"epoch {record['epoch']}: val Dice {record['val_dice']:.4f}, IoU {record['val_iou']:.4f}, "
            f"loss {record['train_loss']:.4f}, lr {record['lr']:.3g}, {record['seconds']:.1f} s, "
            f"{record['it_per_s']:.2f} it/s{peak}",
        )
        if record["warning"]:
            self._write(trial_id, f"warning: {record['warning']}")
        if decision is not None:
            self._write(trial_id, decision.words)

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """Writes why the lane was lost."""
        self._write(trial_id, f"{lane} was lost: {reason}")

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """Writes the final state, with the reason and the traceback of a failure."""
        self._write(trial_id, f"{state}: {failure}" if failure else str(state), *traceback.splitlines())

    def close(self) -> None:
        """Nothing to do: files are closed after each line."""

    def _write(self, trial_id: str, line: str, *more: str) -> None:
        lines = [f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", *(f"    {one}" for one in more)]
        text = "\n".join(map(printable, lines))
        with (self._folder / f"{trial_id}.log").open("a", encoding="utf-8") as file:
            file.write(text + "\n")
