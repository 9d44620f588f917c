"""Whether the best beats the recipe on the same images, tested over groups and averaged over seeds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.score.counts import IMAGES, SPREAD, write_counts, write_names
from tests.watch.runs import an_epoch, settings_in
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.val_counts import FOLDER
from tune_sa2va.score.against_recipe import against_recipe


def a_search(folder: Path, gain: float, noise: float, *, images: int = IMAGES) -> SearchSettings:
    """The recipe and a trial, each run with two seeds: the trial is better by `gain`, with `noise` between images."""
    settings = settings_in(folder, trials=4, epochs=1)
    write_names(settings)
    records = RunRecords.open(settings.folder)
    random = np.random.default_rng(1)
    config = settings.trial_config(settings.search_space.recipe_point())
    for number, trial_id in enumerate(("recipe a", "recipe b", "best a", "best b")):
        differences = random.normal(0, noise, images)
        higher = gain + differences - differences.mean() if number > 1 else 0.0
        records.trial_started(trial_id, number, config, "lane 1")
        records.epoch(trial_id, an_epoch(1, 0.5))
        records.trial_ended(trial_id, TrialState.COMPLETE)
        write_counts(settings, trial_id, {1: 0.6 + SPREAD[:images] + higher})
    return settings


def test_a_clear_gain_beats_the_recipe(tmp_path: Path) -> None:
    found = against_recipe(a_search(tmp_path, 0.03, 0.01), ["best a", "best b"], ["recipe a", "recipe b"])
    assert found.is_beaten and found.comparison.difference.mean == pytest.approx(0.03, abs=1e-3)
    assert found.words.startswith("Trial best a beats the recipe: +0.03") and "24 images of 12 groups" in found.words


def test_what_may_be_luck_does_not(tmp_path: Path) -> None:
    found = against_recipe(a_search(tmp_path, 0.002, 0.06), ["best a", "best b"], ["recipe a", "recipe b"])
    assert not found.is_beaten and found.comparison.difference.mean > 0
    assert found.words.startswith("Nothing beats the recipe, so the recipe's adapter is exported")
    assert "may be luck" in found.words and "--trial best a" in found.words


def test_too_few_groups_keep_the_recipe(tmp_path: Path) -> None:
    found = against_recipe(a_search(tmp_path, 0.05, 0.001, images=5), ["best a"], ["recipe a"])
    assert not found.is_beaten and "5 groups" in found.words


def test_an_image_where_nothing_is_to_be_found_counts_as_right(tmp_path: Path) -> None:
    settings = a_search(tmp_path, 0.03, 0.01)
    file = settings.folder / FOLDER / "recipe a.parquet"
    table = pd.read_parquet(file)
    table.loc[0, ["tp", "fp", "fn"]] = 0
    table.to_parquet(file)
    found = against_recipe(settings, ["best a"], ["recipe a"])
    with_it = against_recipe(a_search(tmp_path / "other", 0.03, 0.01), ["best a"], ["recipe a"])
    assert found.comparison.difference.num_values == IMAGES
    assert found.comparison.difference.mean < with_it.comparison.difference.mean  # the recipe has 1 there


def test_a_rare_text_weighs_as_much_as_a_frequent_one(tmp_path: Path) -> None:
    """As in the search's objective, a gain on 20 images of one text and an equal loss on 4 of another cancel out."""
    settings = a_search(tmp_path, 0.0, 0.0)
    gains = np.where(np.arange(IMAGES) < 20, 0.03, -0.03)
    write_counts(settings, "best a", {1: 0.6 + SPREAD + gains})
    for run in ("best a", "recipe a"):
        file = settings.folder / FOLDER / f"{run}.parquet"
        table = pd.read_parquet(file)
        table["text"] = np.where(np.arange(IMAGES) < 20, "vessel", "bone")
        table.to_parquet(file)
    found = against_recipe(settings, ["best a"], ["recipe a"])
    assert found.comparison.difference.mean == pytest.approx(0.0, abs=1e-3) and not found.is_beaten
