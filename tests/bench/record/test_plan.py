"""The plan of a recording: the recipe first, every image out of its fold once, seed by seed."""

from itertools import pairwise
from pathlib import Path

import pytest

from tune_sa2va.bench.record.plan import RecordingPlan, of_fold, sample_points
from tune_sa2va.config import RECIPE
from tune_sa2va.errors import ResultsError
from tune_sa2va.space.search_space import load_space

PLAN = RecordingPlan(data="d", space="wide", model="tiny", num_configurations=6, folds=3, seeds=2, epochs=4)


def test_the_recipe_is_first_and_a_longer_list_begins_alike() -> None:
    space = load_space("wide")
    points = sample_points(space, 5, seed=0)
    assert PLAN.configs()[0] == RECIPE.replace({"train.epochs": 4})
    assert sample_points(space, 9, seed=0)[:5] == points != sample_points(space, 5, seed=1)


def test_every_run_once_and_the_first_seed_first() -> None:
    runs = PLAN.runs()
    assert len(set(runs)) == len(runs) == 6 * 3 * 2
    assert {run.seed for run in runs[:18]} == {0}
    of_run = [PLAN.configs()[run.configuration].train.full_modules for run in runs[:18]]
    changes = sum(one != other for one, other in pairwise(of_run))
    assert changes == len(set(of_run)) - 1, "a worker would make its graphs more often than it must"


def test_images_train_or_are_predicted() -> None:
    assert of_fold((0, 1, 0, 2), 0) == ([1, 3], [0, 2])


def test_a_folder_of_another_recording_is_refused(tmp_path: Path) -> None:
    PLAN.save(tmp_path)
    PLAN.save(tmp_path)
    other = RecordingPlan(data="d", space="lora", model="tiny", num_configurations=6, folds=3, seeds=3, epochs=4)
    with pytest.raises(ResultsError, match=r"plan\.json: belongs to a recording with another seeds, space"):
        other.save(tmp_path)
