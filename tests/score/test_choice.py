"""What a search exports if tables and checkpoints do not agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluate.tuned_folder import a_tuned
from tests.score.counts import SPREAD, write_counts, write_names
from tests.watch.runs import an_epoch, settings_in
from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned import TUNED_FILE
from tune_sa2va.export import best_checkpoint
from tune_sa2va.propose.confirmation import read_confirmation
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.choice import choose


class Searched:
    """A search whose trials ran as told: the recipe first, then others."""

    def __init__(self, out: Path, **changed: Any) -> None:
        self.settings: SearchSettings = settings_in(out, **changed)
        self.records = RunRecords.open(self.settings.folder)
        write_names(self.settings)

    def trial(
        self, number: int, *dices: float, state: TrialState = TrialState.COMPLETE, on_disk: tuple[int, ...] = (1,),
        micro_batch: int | None = None,
    ) -> None:  # fmt: skip
        trial_id, config = f"{number:04d}", self.config(number)
        self.records.trial_started(trial_id, number, config, "lane 1")
        for epoch, val_dice in enumerate(dices, start=1):
            self.records.epoch(trial_id, an_epoch(epoch, val_dice))
        if dices:
            of_images = {e: np.nan_to_num(dice) * (1 + SPREAD) for e, dice in enumerate(dices, start=1)}
            write_counts(self.settings, trial_id, of_images)
        self.records.trial_ended(trial_id, state, "memory ran out" if state is TrialState.FAILED else "")
        ran = config if micro_batch is None else config.replace({"train.micro_batch_size": micro_batch})
        for epoch in on_disk:
            folder = self.settings.checkpoints / trial_id / f"checkpoint_{epoch:04d}"
            folder.mkdir(parents=True)
            (folder / "state.json").write_text(json.dumps({"config": ran.to_dict()}))

    def config(self, number: int) -> TrialConfig:
        recipe = self.settings.search_space.recipe_point()
        return self.settings.trial_config(recipe | ({"optimizer.lr": 1e-5 * (1 + number)} if number else {}))


def test_another_trial_is_not_the_recipe_because_the_recipes_checkpoints_are_gone(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.9, on_disk=())
    search.trial(1, 0.5)
    search.trial(2, 0.6)
    chosen = choose(search.settings, None)
    assert (chosen.winner.trial_id, chosen.is_recipe, chosen.recipe) == ("0002", False, None)
    assert chosen.missing_better == ("0000",)


def test_a_halved_micro_batch_leaves_the_recipe_the_recipe(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.7, micro_batch=7)
    search.trial(1, 0.6)
    won = choose(search.settings, None)
    assert won.winner.trial_id == "0000" and won.winner.config.train.micro_batch_size == 7 and won.is_recipe
    search.trial(2, 0.8)
    lost = choose(search.settings, None)
    assert lost.winner.trial_id == "0002" and not lost.is_recipe
    assert lost.recipe is not None and lost.recipe.trial_id == "0000"


def test_an_epoch_that_the_tables_do_not_know_is_not_exported(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.727, on_disk=(1, 2), state=TrialState.STOPPED)
    search.trial(1, on_disk=(1,), state=TrialState.STOPPED)
    for found in (choose(search.settings, None).winner, best_checkpoint(search.settings.folder)):
        assert (found.trial_id, found.epoch, found.val_dice) == ("0000", 1, 0.727)
    with pytest.raises(UserError, match="no checkpoint of it"):
        best_checkpoint(search.settings.folder, "0001")


def test_with_one_split_the_last_epoch_with_a_score_is_exported(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.5, 0.8, 0.7, float("nan"), on_disk=(2, 3, 4))
    assert choose(search.settings, None).winner.epoch == 3


def test_a_failed_trial_does_not_win_but_can_be_asked_for(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.5)
    search.trial(1, 0.9, state=TrialState.FAILED)
    assert choose(search.settings, None).winner.trial_id == "0000"
    assert best_checkpoint(search.settings.folder).trial_id == "0000"
    assert best_checkpoint(search.settings.folder, "0001").val_dice == 0.9


def test_with_folds_the_recipe_stands_where_the_best_may_be_luck(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.60)
    search.trial(1, 0.61)
    noise = np.random.default_rng(0).normal(0, 0.05, len(SPREAD))
    write_counts(search.settings, "0001", {1: 0.6 * (1 + SPREAD) + noise - noise.mean() + 0.01})
    of_one_split = choose(search.settings, None)
    assert of_one_split.winner.trial_id == "0001" and of_one_split.standing is None
    chosen = choose(search.settings.model_copy(update={"folds": 5}), None)
    assert chosen.winner.trial_id == "0000" and chosen.is_recipe and chosen.standing is not None
    assert "Nothing beats the recipe" in chosen.standing.words and "--trial 0001" in chosen.standing.words


@pytest.mark.parametrize(("folds", "exported_again"), [(5, "0000"), (1, "0001")])
def test_an_export_by_hand_takes_what_the_search_chose(tmp_path: Path, folds: int, exported_again: str) -> None:
    """With folds the winner does not always have the highest Val Dice: the recipe may stand."""
    search = Searched(tmp_path)
    search.trial(0, 0.60)
    search.trial(1, 0.61)
    folder = search.settings.folder
    search.settings.model_copy(update={"folds": folds}).save(folder)
    assert best_checkpoint(folder).trial_id == "0001", "before the search's end, the best so far"
    (folder / "best_adapter").mkdir()
    tuned = a_tuned("f00").model_copy(update={"trial": "0000"})
    (folder / "best_adapter" / TUNED_FILE).write_text(tuned.to_json())
    assert best_checkpoint(folder).trial_id == exported_again


def test_where_all_failed_there_is_no_winner(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    with pytest.raises(UserError, match="no trial finished an epoch"):
        choose(search.settings, None)
    search.trial(0, 0.9, state=TrialState.FAILED)
    with pytest.raises(UserError, match="failed later"):
        choose(search.settings, None)


def test_the_confirmed_recipe_won_by_its_rerun(tmp_path: Path) -> None:
    search = Searched(tmp_path, confirm=1)
    search.trial(0, 0.9)
    seeds = [search.config(0).train.seed + more for more in (1, 2)]
    for seed, val_dice in zip(seeds, (0.6, 0.7), strict=True):
        rerun = f"0000-seed{seed}"
        search.records.trial_started(
            rerun, seed, search.config(0).replace({"train.seed": seed}), "lane 1", parent="0000"
        )
        search.records.epoch(rerun, an_epoch(1, val_dice))
        search.records.trial_ended(rerun, TrialState.COMPLETE)
        folder = search.settings.checkpoints / rerun / "checkpoint_0001"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"config": search.config(0).to_dict()}))
    chosen = choose(search.settings, read_confirmation(search.settings))
    assert chosen.winner.trial_id == f"0000-seed{seeds[1]}" and chosen.is_recipe
