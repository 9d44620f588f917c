"""What a search inherits from an earlier one, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.report import making
from tests.watch.runs import an_epoch
from tune_sa2va.config import RECIPE
from tune_sa2va.errors import UserError
from tune_sa2va.propose.searcher import proposals
from tune_sa2va.propose.warm_start import inherit, read_inherited, usable_trials, write_inherited
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.lane_capacity import LaneCapacity

LR_AND_RANK = {"optimizer.lr": {"log_uniform": [1e-5, 1e-3]}, "lora.r": {"choice": [8, 32, 64]}}
MODULES = {"train.full_modules": {"choice": [[], ["mask_decoder"]]}}


def a_search(folder: Path, space: dict[str, Any], *, data: str = "d1", **changed: Any) -> SearchSettings:
    settings = making.settings(folder, folder / "none", space={"fixed": {}, "space": space}, **changed)
    environment = {"data_fingerprint": data, "base_model": {"id": "tiny", "sha256": "m"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    return settings


def add(folder: Path, *trials: dict[str, Any], state: TrialState = TrialState.STOPPED) -> None:
    """Trials with these fields; the n-th had Val Dice 0.4, and 0.5 + n / 100 after its last epoch."""
    records = RunRecords.open(folder)
    for values in trials:
        number = len(records.trials())
        trial_id = f"{number:04d}"
        records.trial_started(trial_id, number, RECIPE.replace(values), "lane 1")
        records.epoch(trial_id, an_epoch(1, 0.4))
        records.epoch(trial_id, an_epoch(2, 0.5 + number / 100))
        records.trial_ended(trial_id, state, "NaN" if state is TrialState.FAILED else "")


def test_finished_trials_are_inherited_with_what_was_not_the_same(tmp_path: Path) -> None:
    space = LR_AND_RANK | MODULES
    a_search(tmp_path / "old", space, epochs=9)
    add(tmp_path / "old", {"lora.r": 8}, {"optimizer.lr": 2e-4, "train.full_modules": ["mask_decoder"]})
    add(tmp_path / "old", {"lora.r": 32}, state=TrialState.FAILED)
    add(tmp_path / "old", {"optimizer.lr": 9e-4})
    narrow = space | {"optimizer.lr": {"log_uniform": [1e-5, 5e-4]}}
    new = a_search(tmp_path / "new", narrow, data="d2")
    inherited = inherit(new, tmp_path / "old", tmp_path / "new")
    assert [trial.trial_id for trial in inherited.trials] == ["0000", "0001"] and inherited.left_out == 1
    second = inherited.trials[1]
    assert second.point == {"optimizer.lr": 2e-4, "lora.r": 64, "train.full_modules": '["mask_decoder"]'}
    assert (second.val_dice, second.stopped_after) == (0.51, 2)
    assert not inherited.same_data and inherited.same_otherwise
    write_inherited(tmp_path / "new", inherited)
    assert read_inherited(tmp_path / "new") == inherited
    assert inherited.words == (
        "Warm start: the sampler was told 2 finished trials of the search old, on other data, "
        "with 9 epochs per trial instead of 4. Left out, with a value outside this search's ranges: 1."
    )


def test_other_fields_are_refused_in_one_sentence(tmp_path: Path) -> None:
    a_search(tmp_path / "old", LR_AND_RANK | {"loss.bce": {"uniform": [0.1, 1.0]}})
    add(tmp_path / "old", {})
    here = {"optimizer.lr": {"uniform": [1e-5, 1e-3]}, "lora.r": {"choice": [8, 64]}, **MODULES}
    with pytest.raises(UserError) as caught:
        usable_trials(tmp_path / "old", a_search(tmp_path / "new", here).search_space)
    said = str(caught.value)
    assert "loss.bce is searched only there; optimizer.lr is log_uniform there and uniform here; " in said
    assert "train.full_modules is searched only here" in said and "lora.r" not in said and "\n" not in said


def test_nothing_to_inherit_is_refused(tmp_path: Path) -> None:
    settings = a_search(tmp_path / "old", LR_AND_RANK)
    add(tmp_path / "old", {"lora.r": 16})
    with pytest.raises(UserError, match="must lie in the ranges searched here, and none of 1 does"):
        usable_trials(tmp_path / "old", settings.search_space)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_the_sampler_is_told_once_and_proposes_the_recipe_first(tmp_path: Path, sampler: str) -> None:
    a_search(tmp_path / "old", LR_AND_RANK)
    add(tmp_path / "old", *({"optimizer.lr": 1e-4 * (1 + number / 20)} for number in range(12)))
    new = a_search(tmp_path / "new", LR_AND_RANK, sampler=sampler)
    write_inherited(tmp_path / "new", inherit(new, tmp_path / "old", tmp_path / "new"))
    first = proposals(new, LaneCapacity(new), resuming=False).searcher
    assert first.suggest("a") == new.search_space.recipe_point()
    assert set(first.suggest("b")) == set(LR_AND_RANK)

    proposals(new, LaneCapacity(new), resuming=True)
    storage = optuna.storages.journal.JournalFileBackend(str(tmp_path / "new" / "optuna.journal"))
    trials = optuna.load_study(study_name="new", storage=optuna.storages.JournalStorage(storage)).trials
    told = [trial for trial in trials if "inherited_from" in trial.user_attrs]
    assert [trial.value for trial in told] == pytest.approx([0.5 + n / 100 for n in range(12)]) and len(trials) == 14
    assert {trial.state.name for trial in told} == {"PRUNED" if sampler in ("tpe", "random") else "COMPLETE"}
    assert told[3].user_attrs["inherited_from"] == "old, trial 0003"
