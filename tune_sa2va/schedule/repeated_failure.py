"""When a search ends by itself, because every further trial would fail as the last ones did."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from tune_sa2va.lane.host import OUT_OF_MEMORY
from tune_sa2va.lane.trainable import FAILURE_KIND, LANE_FAILURE

MAX_EQUAL_FAILURES = 5
"""A search ends after this many trials in a row have failed for the same reason."""


class EqualFailures:
    """Counts equal failures in a row. Running out of memory does not count, since the sampler learns from it."""

    def __init__(self) -> None:
        self._kind = ""
        self._num_alike = 0

    def note(self, result: Mapping[str, Any]) -> None:
        """Takes a trial's result: an epoch or a failure."""
        kind = str(result.get(FAILURE_KIND, ""))
        self._num_alike = self._num_alike + 1 if kind and kind == self._kind else 1
        self._kind = kind

    @property
    def words(self) -> str:
        """Why no further trial should start, as a clause; empty while trials should start."""
        if self._kind == LANE_FAILURE:
            return "the workers of a lane could not be started"
        if self._kind not in ("", OUT_OF_MEMORY) and self._num_alike >= MAX_EQUAL_FAILURES:
            return f"the last {self._num_alike} trials failed alike"
        return ""


class StopOnRepeatedFailure(tune.Stopper):
    """Ends the search if the workers of a lane cannot be started, or if several trials in a row fail alike."""

    def __init__(self) -> None:
        self._failures = EqualFailures()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._failures.note(result)
        return False

    def stop_all(self) -> bool:
        """Whether the search should end; Tune asks after each event."""
        return bool(self._failures.words)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Starts counting from zero: Tune saves the stopper, but a user who resumes a search has fixed the cause."""
        self._failures = EqualFailures()
