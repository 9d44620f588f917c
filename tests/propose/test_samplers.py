"""The contract of every sampler, driven as Tune drives it: seeds, results, resumption and out-of-memory trials."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tests.watch.runs import settings_in
from tune_sa2va.internals.ray_private import study_of
from tune_sa2va.lane.trainable import INFEASIBLE_GIB
from tune_sa2va.propose.searcher import METRIC, READS_PRUNED, proposals
from tune_sa2va.results.settings import JOURNAL_FILE, SamplerName, SearchSettings

SAMPLERS = ("tpe", "gp", "cmaes", "random")
STARTUP, AFTER = 10, 3
"""TPE and GP sample at random until they have been told ten trials."""

Point = dict[str, Any]


def settings_of(folder: Path, sampler: str, seed: int = 0) -> SearchSettings:
    settings = settings_in(folder, trials=100, epochs=1)
    return settings.model_copy(update={"sampler": sampler, "seed": seed})


def searcher_of(settings: SearchSettings, *, resuming: bool = False) -> Any:
    """The searcher below Tune's own bookkeeping."""
    return proposals(settings, lambda: 1, resuming=resuming).searcher.searcher


def rising(point: Point) -> float:
    return 0.5 + point["optimizer.lr"]


def falling(point: Point) -> float:
    return 0.5 - point["optimizer.lr"]


def play(search: Any, first: int, number: int, val_dice: Callable[[Point], float] = rising) -> list[Point]:
    """Runs trials one after the other; the result of each is told before the next is proposed."""
    points = []
    for trial in range(first, first + number):
        point = search.suggest(f"{trial:04d}")
        result = {METRIC: val_dice(point), "training_iteration": 1, "epoch": 1, "done": True, "failure": ""}
        search.on_trial_result(f"{trial:04d}", result)
        search.on_trial_complete(f"{trial:04d}", result)
        points.append(point)
    return points


def study(settings: SearchSettings) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(settings.folder / JOURNAL_FILE)))
    return optuna.load_study(study_name=settings.name, storage=storage)


def test_all_of_them_are_tried() -> None:
    assert set(get_args(SamplerName)) == set(SAMPLERS)


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestEverySampler:
    def test_the_seed_and_the_results_decide(self, tmp_path: Path, sampler: str) -> None:
        def played(name: str, seed: int, val_dice: Callable[[Point], float]) -> list[Point]:
            settings = settings_of(tmp_path / name, sampler, seed)
            return play(searcher_of(settings), 0, STARTUP + AFTER, val_dice)

        one, again = played("one", 0, rising), played("again", 0, rising)
        assert one == again
        other = played("other", 1, rising)
        recipe = settings_of(tmp_path / "recipe", sampler).search_space.recipe_point()
        assert one[0] == other[0] == recipe
        assert not any(a == b for a, b in zip(one[1:STARTUP], other[1:STARTUP], strict=True))
        told_otherwise = played("told otherwise", 0, falling)
        assert (told_otherwise == one) is (sampler == "random"), "who learns, learns from what it is told"

    def test_the_study_has_what_was_told(self, tmp_path: Path, sampler: str) -> None:
        settings = settings_of(tmp_path, sampler)
        search = searcher_of(settings)
        points = play(search, 0, 3)
        under_way = search.suggest("0003")
        found = study(settings).trials
        assert [trial.params for trial in found] == [*points, under_way]
        assert [trial.value for trial in found] == [*(rising(point) for point in points), None]
        assert [trial.state.name for trial in found] == 3 * ["COMPLETE"] + ["RUNNING"]
        assert study(settings).direction is StudyDirection.MAXIMIZE

    def test_a_resumed_study_goes_on_as_if_nothing_had_been(self, tmp_path: Path, sampler: str) -> None:
        settings = settings_of(tmp_path / "then", sampler)
        search = searcher_of(settings)
        play(search, 0, STARTUP + 1)
        search.save(str(settings.folder / "state.pkl"))
        shutil.copytree(tmp_path / "then", tmp_path / "now")
        wanted = play(search, STARTUP + 1, 2)
        moved = settings.model_copy(update={"out": tmp_path / "now"})
        resumed = searcher_of(moved, resuming=True)
        resumed.restore(str(moved.folder / "state.pkl"))
        assert play(resumed, STARTUP + 1, 2) == wanted
        assert len(study(moved).trials) == STARTUP + 3, "and the recipe once"

    def test_what_needed_too_much_memory_is_infeasible(self, tmp_path: Path, sampler: str) -> None:
        settings = settings_of(tmp_path, sampler)
        search = searcher_of(settings)
        play(search, 0, 1)
        search.suggest("0001")
        result = {METRIC: 0.0, "training_iteration": 1, "failure": "Out of memory.", INFEASIBLE_GIB: 90.0}
        search.on_trial_complete("0001", result)
        play(search, 2, 1)
        assert [trial.constraints["memory"] > 0 for trial in study(settings).trials] == [False, True, False]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])  # CMA-ES samples by the number of trials in any state
def test_who_reads_pruned_trials_is_told_of_them_as_pruned(tmp_path: Path, sampler: str) -> None:
    """Compares with Optuna's own samplers: a sampler that ignores PRUNED trials must be told of them as COMPLETE."""

    def proposed(name: str, num_pruned: int) -> Point:
        search = searcher_of(settings_of(tmp_path / name, sampler))
        play(search, 0, STARTUP + 1)
        own = study_of(search.searcher)
        for trial in own.trials[:num_pruned]:
            params = trial.params | {"optimizer.lr": min(1.5 * trial.params["optimizer.lr"], 3e-3)}
            own.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.PRUNED,
                    value=rising(params),
                    params=params,
                    distributions=trial.distributions,
                    intermediate_values={1: rising(params)},
                    constraints={"memory": -1.0},
                )
            )
        return search.suggest("next")

    assert (proposed("without", 0) == proposed("with", STARTUP // 2)) is (sampler not in READS_PRUNED)
