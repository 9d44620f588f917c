"""What is told of a search while it runs, and to whom: trial logs, TensorBoard and Ray's metrics all listen alike."""

from collections.abc import Mapping
from typing import Any, Protocol

from tune_sa2va.config import TrialConfig
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision


class Listener(Protocol):
    """Told by `search.recorder.Recorder`, after the records have it. Trial ids and lanes are those of the records."""

    def started(self, trial_id: str, lane: str, config: TrialConfig, epochs: int) -> None:
        """A trial has a lane, for the first time or again; epochs after `epochs` will be told."""

    def epoch(self, trial_id: str, lane: str, record: Mapping[str, Any], decision: Decision | None) -> None:
        """A trial has an epoch more: the fields of `EpochRecord`. decision: ASHA's, where it had one to take."""

    def interrupted(self, trial_id: str, lane: str, reason: str) -> None:
        """A trial lost its lane and will go on in another one."""

    def ended(self, trial_id: str, lane: str, state: TrialState, failure: str, traceback: str) -> None:
        """A trial will not go on. failure and traceback: of a FAILED one."""

    def close(self) -> None:
        """The search, or this run of it, is over."""
