"""Proposes the reruns that confirm the best, once the search's own trials are over. Optuna is not told of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from tune_sa2va.propose.confirmation import seeds_of, to_confirm
from tune_sa2va.results.records import read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.rerun import rerun_point
from tune_sa2va.space.search_space import encode


class Confirming(Searcher):
    """Passes on the proposals of another searcher, then proposes reruns.

    It reads the finalists from the records. Which reruns were proposed is kept in Tune's state, so that after a kill
    none is proposed twice and none is forgotten.
    """

    def __init__(self, searcher: Searcher, settings: SearchSettings) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self.searcher = searcher  # Tune looks for this name when it saves
        self._settings = settings
        self._num_proposed = 0
        self._under_way: set[str] = set()
        self._reruns: dict[str, tuple[str, int]] = {}

    def suggest(self, trial_id: str) -> Any:
        """A point; None while reruns wait for the search's trials to end; `Searcher.FINISHED` after the last rerun."""
        if self._num_proposed < self._settings.trials:
            point = self.searcher.suggest(trial_id)
            if isinstance(point, dict):
                self._num_proposed += 1
                self._under_way.add(trial_id)
            return point
        if self._under_way:
            return None
        for parent, seed, point in self._wanted():
            if (parent, seed) not in self._reruns.values():
                self._reruns[trial_id] = parent, seed
                return rerun_point(point, parent, seed)
        return Searcher.FINISHED

    def _wanted(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Trial id, seed and point of each rerun: all finalists with their first seed, then with the second, ..."""
        settings = self._settings
        finalists = to_confirm(settings, read_trials(settings.folder))
        for number in range(settings.seeds):
            for row in finalists:
                values = {path: row[path] for path in settings.search_space.counting(row)}
                point = {p: encode(v.tolist() if isinstance(v, np.ndarray) else v) for p, v in values.items()}
                yield str(row["trial_id"]), seeds_of(row, settings.seeds)[number], point

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Called when a trial has finished an epoch."""
        if trial_id not in self._reruns:
            self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called when a trial is over."""
        self._under_way.discard(trial_id)
        if trial_id not in self._reruns:
            self.searcher.on_trial_complete(trial_id, result=result, error=error)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Passed on to the wrapped searcher."""
        return bool(self.searcher.set_search_properties(metric, mode, config, **spec))

    def get_state(self) -> dict[str, Any]:
        """The state that Tune saves."""
        return {
            "num_proposed": self._num_proposed,
            "under_way": sorted(self._under_way),
            "reruns": dict(self._reruns),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self._num_proposed = state["num_proposed"]
        self._under_way = set(state["under_way"])
        self._reruns = dict(state["reruns"])

    def save(self, checkpoint_path: str) -> None:
        """Saves the wrapped searcher."""
        self.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Restores the wrapped searcher."""
        self.searcher.restore(checkpoint_path)
