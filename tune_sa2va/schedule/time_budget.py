"""The time budget of a search: when it is spent all trials stop, and a resumed search gets the whole budget again."""

import time
from typing import Any

from ray import tune


class TimeBudget(tune.Stopper):
    """Ends a run of the search `seconds` after its first event, but not before its first result.

    Opening lanes and encoding images may take longer than a short budget. A run that ended before its first result
    would produce nothing, while Tune would count its trials as over.

    Tune's own `time_budget_s` would not do. Tune saves how much of it is left, so a search whose budget is spent would
    end at once, without a message, whenever it is resumed or extended.
    """

    _has_result = False
    """Whether any trial has had a result in this run."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began_s: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._has_result = True
        return False

    def stop_all(self) -> bool:
        """Whether the run should end; Tune asks after each event."""
        if self._began_s is None:
            self._began_s = time.monotonic()
        return self._has_result and time.monotonic() - self._began_s >= self._seconds

    def __getstate__(self) -> dict[str, Any]:
        """What Tune saves: the budget, not how much of it is spent."""
        return {"_seconds": self._seconds, "_began_s": None}
