"""Our own numbers among Ray's metrics: each node's metrics port has them, as `ray_sa2va_...`, for Prometheus.

Trials and lanes are named as in the records, and nothing of the images is.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from ray.util.metrics import Counter, Gauge

from tune_sa2va.config import TrialConfig
from tune_sa2va.search.records import TrialState
from tune_sa2va.search.scheduler import Decision


class LaneState(IntEnum):
    """The values of `sa2va_lane_state`."""

    IDLE = 0
    BUSY = 1
    LOST = 2


class SearchMetrics:
    """Gauges keep the last value of each trial and lane; decisions are counted since this run of the search began."""

    def __init__(self) -> None:
        both = ("trial", "lane")
        self._val_dice = Gauge("sa2va_val_dice", "Val Dice of a trial's last epoch", tag_keys=both)
        self._it_per_s = Gauge("sa2va_it_per_s", "Images a second of one worker, last epoch", tag_keys=both)
        self._peak_gib = Gauge("sa2va_peak_gib", "Peak device memory of the last epoch, GiB", tag_keys=both)
        self._lane_state = Gauge("sa2va_lane_state", "0 idle, 1 runs a trial, 2 lost", tag_keys=("lane",))
        self._decisions = Counter("sa2va_rung_decisions", "ASHA's decisions", tag_keys=("rung", "verdict"))

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """The lane is busy."""
        self._set(lane, LaneState.BUSY)

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """The epoch's numbers."""
        tags = {"trial": trial_id, "lane": lane}
        self._val_dice.set(record["val_dice"], tags)
        self._it_per_s.set(record["it_per_s"], tags)
        self._peak_gib.set(record["peak_gib"], tags)
        if decision is not None:
            self._decisions.inc(1, {"rung": str(decision.rung), "verdict": str(decision.verdict)})

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """The lane is lost; another one takes its place under another name."""
        self._set(lane, LaneState.LOST)

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """The lane is free."""
        self._set(lane, LaneState.IDLE)

    def close(self) -> None:
        """Ray forgets the numbers with the process."""

    def _set(self, lane: str, state: LaneState) -> None:
        self._lane_state.set(state, {"lane": lane})
