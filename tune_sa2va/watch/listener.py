"""The interface of everything that follows a running search: trial logs, TensorBoard and Ray's metrics."""

from collections.abc import Mapping
from typing import Any, Protocol

from tune_sa2va.config import TrialConfig
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision


class Listener(Protocol):
    """Called by `search.recorder.Recorder` after the records are written, with their trial ids and lanes."""

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """A trial starts in a lane, for the first time or again. epochs: how many it has done before."""

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """A trial has finished an epoch. record: fields of `EpochRecord`. decision: ASHA's; None between rungs."""

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """A trial has lost its lane and will go on in another one."""

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """A trial has ended. failure, traceback: of a FAILED trial; else empty."""

    def close(self) -> None:
        """This run of the search is over."""
