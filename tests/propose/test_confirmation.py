"""Which configurations are confirmed, which one wins, and how the outcome is reported."""

import math
from pathlib import Path

import pytest

from tests.watch.runs import an_epoch, settings_in, start
from tune_sa2va.config import RECIPE
from tune_sa2va.propose.confirmation import best_configurations, confirmation_words, read_confirmation
from tune_sa2va.results.records import RunRecords, TrialState, read_trials
from tune_sa2va.results.settings import SearchSettings

EPOCHS = 2


def a_search(folder: Path, *dices: float, confirm: int = 2) -> tuple[SearchSettings, RunRecords]:
    """Complete trials with these scores, each with a different rank."""
    settings = settings_in(folder, trials=len(dices), epochs=EPOCHS, confirm=confirm)
    records = RunRecords.open(settings.folder)
    for number, dice in enumerate(dices):
        trial_id = f"{number:04d}"
        records.trial_started(trial_id, number, RECIPE.replace({"lora.r": 8 + number}), "lane 1")
        add_epochs(records, trial_id, dice)
        records.trial_ended(trial_id, TrialState.COMPLETE)
    return settings, records


def add_epochs(records: RunRecords, trial_id: str, dice: float) -> None:
    for epoch in range(1, EPOCHS + 1):
        records.epoch(trial_id, an_epoch(epoch, dice - 0.1 * (EPOCHS - epoch)))


def rerun(records: RunRecords, parent: str, seed: int, dice: float, state: str = "COMPLETE") -> None:
    trial_id = start(records, seed, parent=parent)
    if state != "FAILED":
        add_epochs(records, trial_id, dice)
    records.trial_ended(trial_id, TrialState(state), "Out of memory." if state == "FAILED" else "")


def test_the_best_mean_wins_with_its_best_rerun_and_luck_is_named(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60, 0.72)
    for parent, seed, dice in (("0002", 1, 0.68), ("0000", 1, 0.71), ("0002", 2, 0.66), ("0000", 2, 0.69)):
        rerun(records, parent, seed, dice)
    confirmation = read_confirmation(settings)
    assert confirmation is not None and confirmation.is_over
    assert [finalist.trial_id for finalist in confirmation.finalists] == ["0002", "0000"]
    assert [finalist.mean for finalist in confirmation.finalists] == pytest.approx([0.67, 0.70])
    assert confirmation.winner is not None and confirmation.winner.trial_id == "0000"
    assert confirmation.winner.best_rerun.trial_id == "0000-seed1"
    said = " ".join(confirmation_words(confirmation))
    assert "trial 0002, had Val Dice 0.720 in the search and 0.670 as the mean of its 2 reruns: 0.050 of its" in said
    assert "prefers trial 0000, by its mean of 0.700 against 0.670" in said
    assert "cannot be told apart" not in said


def test_a_trial_that_was_stopped_early_is_not_held_against_full_reruns(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60)
    records.trial_ended("0000", TrialState.STOPPED)
    for parent, seed, dice in (("0000", 1, 0.65), ("0001", 1, 0.60), ("0000", 2, 0.66), ("0001", 2, 0.61)):
        rerun(records, parent, seed, dice)
    confirmation = read_confirmation(settings)
    assert confirmation is not None
    said = " ".join(confirmation_words(confirmation))
    assert "where it was stopped after epoch" in said and "say nothing about luck" in said and "was luck" not in said


def test_the_best_rerun_of_all_does_not_decide(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60)
    for parent, seed, dice in (("0000", 1, 0.80), ("0001", 1, 0.71), ("0000", 2, 0.50), ("0001", 2, 0.73)):
        rerun(records, parent, seed, dice)
    confirmation = read_confirmation(settings)
    assert confirmation is not None and confirmation.winner is not None
    assert confirmation.winner.trial_id == "0001" and confirmation.winner.best_rerun.seed == 2


def test_the_recipe_is_always_run_again_though_none_of_the_best(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60, confirm=1)
    recipe = settings.trial_config(settings.search_space.recipe_point())
    records.trial_started("0002", 2, recipe, "lane 1")
    add_epochs(records, "0002", 0.50)
    records.trial_ended("0002", TrialState.COMPLETE)
    confirmation = read_confirmation(settings)
    assert confirmation is not None and confirmation.recipe is not None
    assert [(f.trial_id, f.is_recipe) for f in confirmation.finalists] == [("0000", False), ("0002", True)]
    assert len(confirmation.recipe.reruns) == settings.seeds and settings.num_reruns == 2 * settings.seeds


def test_means_closer_than_the_reruns_of_one_are_not_told_apart(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60)
    for parent, seed, dice in (("0000", 1, 0.75), ("0001", 1, 0.70), ("0000", 2, 0.69), ("0001", 2, 0.72)):
        rerun(records, parent, seed, dice)
    confirmation = read_confirmation(settings)
    assert confirmation is not None
    said = " ".join(confirmation_words(confirmation))
    assert "its score was no luck" in said and "keeps trial 0000" in said
    assert "differ by 0.010, and reruns of one configuration by up to 0.060" in said


def test_who_fails_with_another_seed_cannot_win(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60)
    for parent, seed, dice, state in (
        ("0000", 1, 0.9, "COMPLETE"),
        ("0000", 2, 0.0, "FAILED"),
        ("0001", 1, 0.5, "COMPLETE"),
        ("0001", 2, 0.4, "COMPLETE"),
    ):
        rerun(records, parent, seed, dice, state)
    confirmation = read_confirmation(settings)
    assert confirmation is not None and confirmation.winner is not None
    assert confirmation.winner.trial_id == "0001" and math.isnan(confirmation.finalists[0].mean)
    assert "failed with another seed" in confirmation_words(confirmation)[0]


def test_a_confirmation_that_was_cut_short_decides_nothing(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.70, 0.60)
    for parent, seed, state in (("0000", 1, "STOPPED"), ("0001", 1, "COMPLETE"), ("0001", 2, "COMPLETE")):
        rerun(records, parent, seed, 0.9, state)
    confirmation = read_confirmation(settings)
    assert confirmation is not None and not confirmation.is_over and confirmation.winner is None
    (said,) = confirmation_words(confirmation)
    assert "2 of 4 reruns ran to their last epoch" in said


def test_a_configuration_is_a_finalist_once_and_failures_never(tmp_path: Path) -> None:
    settings, records = a_search(tmp_path, 0.60, 0.70)
    for number, seed in ((2, 0), (3, 7)):  # the configuration of trial 1 again, also with another seed
        config = RECIPE.replace({"lora.r": 9, "train.seed": seed})
        records.trial_started(f"{number:04d}", number, config, "lane 1")
        add_epochs(records, f"{number:04d}", 0.70)
        records.trial_ended(f"{number:04d}", TrialState.STOPPED)
    records.trial_started("0004", 4, RECIPE.replace({"lora.r": 32}), "lane 1")
    add_epochs(records, "0004", 0.99)
    records.trial_ended("0004", TrialState.FAILED, "A loss is not finite.")
    found = best_configurations(read_trials(settings.folder), 5)
    assert [row["trial_id"] for row in found] == ["0001", "0000"]


def test_nothing_is_confirmed_unless_asked(tmp_path: Path) -> None:
    settings, _ = a_search(tmp_path, 0.70, confirm=0)
    assert read_confirmation(settings) is None
