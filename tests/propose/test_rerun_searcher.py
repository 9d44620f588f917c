"""Reruns are proposed after the last trial, each once, even across a kill. Optuna is not told of them."""

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from tests.watch.runs import an_epoch, settings_in
from tune_sa2va.config import RECIPE
from tune_sa2va.propose.rerun_searcher import Confirming
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.rerun import RERUN_OF, RERUN_SEED


class Points(Searcher):
    """Always proposes the recipe's point, and keeps what it is told."""

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__(metric="val_dice", mode="max")
        self._point = settings.search_space.recipe_point()
        self.told: list[str] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return dict(self._point)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append(trial_id)


def ended_trials(settings: SearchSettings, *dices: float) -> RunRecords:
    records = RunRecords.open(settings.folder)
    for number, dice in enumerate(dices):
        records.trial_started(f"{number:04d}", number, RECIPE.replace({"lora.r": 8 + number}), "lane 1")
        records.epoch(f"{number:04d}", an_epoch(1, dice))
        records.trial_ended(f"{number:04d}", TrialState.STOPPED)
    return records


def test_reruns_come_after_the_last_trial_best_first_and_then_the_next_seed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, trials=2, confirm=2)
    inner = Points(settings)
    search = Confirming(inner, settings)
    assert all(RERUN_OF not in search.suggest(name) for name in ("a", "b"))
    search.on_trial_complete("a", {"val_dice": 0.5})
    ended_trials(settings, 0.5, 0.6)
    assert search.suggest("c") is None  # trial b is still running
    search.on_trial_complete("b", {"val_dice": 0.6})
    found = [search.suggest(name) for name in ("c", "d", "e", "f")]
    assert [(p[RERUN_OF], p[RERUN_SEED]) for p in found] == [("0001", 1), ("0000", 1), ("0001", 2), ("0000", 2)]
    assert settings.trial_config(found[0]) == settings.trial_config(
        {path: value for path, value in found[0].items() if path not in (RERUN_OF, RERUN_SEED)}
    ).replace({"train.seed": 1})
    assert found[0]["lora.r"] == 9 and found[1]["lora.r"] == 8
    assert search.suggest("g") == Searcher.FINISHED
    search.on_trial_result("c", {"val_dice": 0.5})
    search.on_trial_complete("c", {"val_dice": 0.5})
    assert inner.told == ["a", "b"]


def test_after_a_kill_no_rerun_is_proposed_again_and_more_trials_come_first(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, trials=2, confirm=1)
    search = Confirming(Points(settings), settings)
    for name in ("a", "b"):
        search.suggest(name)
        search.on_trial_complete(name)
    ended_trials(settings, 0.5, 0.6)
    assert search.suggest("c")[RERUN_SEED] == 1
    state = search.get_state()

    resumed = Confirming(Points(settings), settings)
    resumed.set_state(state)
    assert resumed.suggest("d")[RERUN_SEED] == 2
    assert resumed.suggest("e") == Searcher.FINISHED

    more = Confirming(Points(settings), settings.model_copy(update={"trials": 3}))
    more.set_state(state)
    assert RERUN_OF not in more.suggest("d") and more.suggest("e") is None
    more.on_trial_complete("d")
    assert more.suggest("e")[RERUN_SEED] == 2
