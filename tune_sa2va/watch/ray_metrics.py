"""Exports a search's numbers among Ray's metrics, as `ray_sa2va_...` on each node's metrics port, for Prometheus.

Trials and lanes are named as in the records; names of images do not appear. Ray drops a gauge that is not set within
two of its reports (20 s), but an epoch may take minutes, so a thread sets them again.
"""

import threading
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from ray.util.metrics import Counter, Gauge

from tune_sa2va.config import TrialConfig
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision

_REPEAT_S = 1.0
"""Seconds between two settings of all gauges; Ray reports at most once a second."""


class LaneState(IntEnum):
    """The values of `sa2va_lane_state`."""

    IDLE = 0
    BUSY = 1
    LOST = 2


class SearchMetrics:
    """A listener: gauges for the last epoch of each running trial and for each lane, a counter of ASHA's decisions.

    Decisions are counted from the start of this run.
    """

    def __init__(self) -> None:
        both = ("trial", "lane")
        self._val_dice = Gauge("sa2va_val_dice", "Val Dice of a trial's last epoch", tag_keys=both)
        self._it_per_s = Gauge("sa2va_it_per_s", "Images a second of one worker, last epoch", tag_keys=both)
        self._peak_gib = Gauge("sa2va_peak_gib", "Peak device memory of the last epoch, GiB", tag_keys=both)
        self._lane_state = Gauge("sa2va_lane_state", "0 idle, 1 runs a trial, 2 lost", tag_keys=("lane",))
        self._decisions = Counter("sa2va_rung_decisions", "ASHA's decisions", tag_keys=("rung", "outcome"))
        self._shown: dict[tuple[Gauge, frozenset[tuple[str, str]]], float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._repeat, name="metrics", daemon=True).start()

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """The lane is busy."""
        self._set(lane, LaneState.BUSY)

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """Sets the numbers of the epoch."""
        tags = {"trial": trial_id, "lane": lane}
        self._show(self._val_dice, record["val_dice"], tags)
        self._show(self._it_per_s, record["it_per_s"], tags)
        self._show(self._peak_gib, record["peak_gib"], tags)
        if decision is not None:
            self._decisions.inc(1, {"rung": str(decision.rung), "outcome": str(decision.outcome)})

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """The lane is lost; the one that replaces it has another name."""
        self._forget(trial_id)
        self._set(lane, LaneState.LOST)

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """The lane is idle. Gauges of the trial are dropped, since ended trials would clutter the metrics."""
        self._forget(trial_id)
        if lane:  # a trial of an earlier run may end without one
            self._set(lane, LaneState.IDLE)

    def close(self) -> None:
        """Stops setting the gauges; Ray drops them soon after."""
        self._closed.set()

    def _set(self, lane: str, state: LaneState) -> None:
        self._show(self._lane_state, state, {"lane": lane})

    def _show(self, gauge: Gauge, value: float, tags: dict[str, str]) -> None:
        with self._lock:
            self._shown[gauge, frozenset(tags.items())] = value
            gauge.set(value, tags)

    def _forget(self, trial_id: str) -> None:
        with self._lock:
            self._shown = {key: value for key, value in self._shown.items() if ("trial", trial_id) not in key[1]}

    def _repeat(self) -> None:
        while not self._closed.wait(_REPEAT_S):
            with self._lock:
                for (gauge, tags), value in self._shown.items():
                    gauge.set(value, dict(tags))
