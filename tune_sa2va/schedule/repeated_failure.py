"""When a search should end by itself: every further trial would fail as the last ones did."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from tune_sa2va.lane.trainable import FAILURE_KIND, LANE_FAILURE, OUT_OF_MEMORY

MAX_EQUAL_FAILURES = 5
"""Trials in a row that may fail for one and the same reason."""


class EqualFailures:
    """Counts the failures in a row. Running out of memory is none: the sampler learns from it."""

    def __init__(self) -> None:
        self._kind = ""
        self._num_alike = 0

    def note(self, result: Mapping[str, Any]) -> None:
        """A trial has a result: an epoch, or why it cannot go on."""
        kind = str(result.get(FAILURE_KIND, ""))
        self._num_alike = self._num_alike + 1 if kind and kind == self._kind else 1
        self._kind = kind

    @property
    def words(self) -> str:
        """Why no further trial should start; empty as long as one should."""
        if self._kind == LANE_FAILURE:
            return "the workers of a lane could not be started"
        if self._kind not in ("", OUT_OF_MEMORY) and self._num_alike >= MAX_EQUAL_FAILURES:
            return f"the last {self._num_alike} trials failed alike"
        return ""


class StopOnRepeatedFailure(tune.Stopper):
    """Ends the search when the workers cannot be opened at all, or when trials fail one after the other alike."""

    def __init__(self) -> None:
        self._failures = EqualFailures()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._failures.note(result)
        return False

    def stop_all(self) -> bool:
        """Tune's question after each event."""
        return bool(self._failures.words)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Tune keeps the stopper with its state; whoever resumes a search has cured what ended it."""
        self._failures = EqualFailures()
