"""When the time is up: no trial goes on, and a resumed search has the whole budget again."""

import time
from typing import Any

from ray import tune


class TimeBudget(tune.Stopper):
    """Ends a run of the search `seconds` after its first event, but not before its first result.

    Opening lanes and encoding images may take longer than a short budget, and a run without a result would leave
    nothing, while Tune would count its trials as over.

    Not Tune's `time_budget_s`: Tune keeps what is left of that with its state, so that a search whose budget is spent
    could never be resumed or extended; it ended at once, without a word.
    """

    _has_result = False
    """In this run."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began_s: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._has_result = True
        return False

    def stop_all(self) -> bool:
        """Tune's question after each event."""
        if self._began_s is None:
            self._began_s = time.monotonic()
        return self._has_result and time.monotonic() - self._began_s >= self._seconds

    def __getstate__(self) -> dict[str, Any]:
        """What Tune keeps: the budget, not what is spent of it."""
        return {"_seconds": self._seconds, "_began_s": None}
