"""Whether the remaining folds of a trial are worth training, compared with the best trial after the same epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.score.counts import IMAGES, SPREAD, write_counts, write_names
from tests.watch.runs import an_epoch, settings_in
from tune_sa2va.data.split_file import read_names
from tune_sa2va.results.records import RunRecords
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.fold_judge import FoldJudge
from tune_sa2va.space.rerun import rerun_point


@pytest.fixture
def settings(tmp_path: Path) -> SearchSettings:
    """Two trials that finished epoch 1, the better one first at 0.7 and one at 0.6; and a third that was given up."""
    settings = settings_in(tmp_path)
    write_names(settings)
    records = RunRecords.open(settings.folder)
    config = settings.trial_config(settings.search_space.recipe_point())
    for number, (dice, left) in enumerate(((0.7, 0), (0.6, 0), (0.9, 2))):
        records.trial_started(f"{number:04d}", number, config, "lane 1")
        records.epoch(f"{number:04d}", an_epoch(1, dice) | {"folds_left": left})
        write_counts(settings, f"{number:04d}", {1: dice + SPREAD})
    return settings


def judge(settings: SearchSettings) -> FoldJudge:
    return FoldJudge.of(settings.folder, settings.search_space.recipe_point(), read_names(settings.folder))


def counts(dice: float, images: int = IMAGES) -> list[list[int] | None]:
    """The counts of a trial whose first `images` images have been predicted, all with about this Dice."""
    tp = np.rint(1_000 * (dice + SPREAD)).astype(int).tolist()
    found: list[list[int] | None] = [[each, 1_000 - each, 1_000 - each, 0] for each in tp]
    return found[:images] + [None] * (IMAGES - images)


def another_point(settings: SearchSettings) -> dict[str, Any]:
    return settings.search_space.recipe_point() | {"optimizer.lr": 2e-5}


def test_a_trial_far_behind_the_best_is_given_up(settings: SearchSettings) -> None:
    said = judge(settings)(another_point(settings), "0003", 1, counts(0.65, images=8))
    assert "8 images of 8 groups" in said and "of trial 0000" in said and "were not trained" in said


def test_as_good_as_the_best_or_an_epoch_where_nobody_was_goes_on(settings: SearchSettings) -> None:
    assert not judge(settings)(another_point(settings), "0003", 1, counts(0.7, images=8))
    assert not judge(settings)(another_point(settings), "0003", 2, counts(0.1, images=8))


def test_few_groups_say_nothing(settings: SearchSettings) -> None:
    assert not judge(settings)(another_point(settings), "0003", 1, counts(0.1, images=5))


def test_the_recipe_and_reruns_are_never_given_up(settings: SearchSettings) -> None:
    point = settings.search_space.recipe_point()
    for spared in (point, rerun_point(another_point(settings), "0001", 1)):
        assert not judge(settings)(spared, "0003", 1, counts(0.1))


def test_counts_that_are_being_written_are_waited_for_in_no_way(settings: SearchSettings) -> None:
    (settings.folder / "val_counts" / "0000.parquet").unlink()
    assert not judge(settings)(another_point(settings), "0003", 1, counts(0.1))
