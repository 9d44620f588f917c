"""The duration of a search for a given pace, compared with sums made by hand."""

from pathlib import Path

import pytest

from tune_sa2va.plan.clock import LANE_START_S, PROCESS_START_S, predict
from tune_sa2va.plan.pace import Pace
from tune_sa2va.plan.show import _has_slower_trials
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.preflight.settings import resolve_settings
from tune_sa2va.schedule.expected_length import Expectation

PACE = Pace(load_s=5.0, encode_s=0.5, start_s=0.25, train_s=0.1, val_s=0.02, peak_gib=0.0, source="given")
IMAGES = {"train": 100, "val": 20, "test": 10}
EXPECTED = Expectation(rungs={1: 8, 3: 3}, epochs=20.0, epochs_range=(15, 30), duration_in_epochs=12.0)


def flags(out: Path, **changed: object) -> Flags:
    values = {
        "data": None, "allow_outside": False, "model": "tiny", "space": "smoke", "out": out, "name": "plan",
        "trials": 8, "epochs": 3, "folds": "1",
        "final": "auto", "grace_period": 1, "reduction_factor": 3,
        "time_budget_min": None, "sampler": "tpe", "seed": 0, "gpus": 0,
        "gpus_per_trial": 1, "lanes": 2, "confirm": "0", "seeds": 2, "warm_start": None, "storage": None,
        "max_disk_gib": None, "cache_limit_gib": None, "memory": "auto", "address": None,
    }  # fmt: skip
    return Flags(**(values | changed))


def test_the_sum(tmp_path: Path) -> None:
    seconds = predict(resolve_settings(flags(tmp_path)), IMAGES, EXPECTED, PACE)
    assert seconds.starting == pytest.approx(LANE_START_S + 5 + 120 * 0.5 / 2)
    assert seconds.training == pytest.approx(12 * 100 * 0.1)
    assert seconds.validation == pytest.approx(12 * 20 * 0.02)
    assert seconds.between_trials == pytest.approx(8 / 2 * 0.25)
    assert seconds.ending == pytest.approx(2 * (PROCESS_START_S + 5) + 10 * 0.5 + (3 * (20 + 10) + 20) * 0.02)
    assert seconds.low < seconds.total < seconds.high and not seconds.cut_short
    moving = seconds.training + seconds.validation + seconds.between_trials
    assert seconds.high - seconds.total == pytest.approx(0.5 * moving)


def test_with_folds_every_image_is_scored_and_trained_on_by_all_but_one(tmp_path: Path) -> None:
    seconds = predict(resolve_settings(flags(tmp_path, folds="5")), {"val": 120, "test": 10}, EXPECTED, PACE)
    assert seconds.starting == pytest.approx(LANE_START_S + 5 + 120 * 0.5 / 2)
    assert seconds.training == pytest.approx(12 * 4 * 120 * 0.1)
    assert seconds.validation == pytest.approx(12 * 120 * 0.02)


def test_a_refit_trains_winner_and_recipe_again_on_all_images(tmp_path: Path) -> None:
    images = {"val": 120, "test": 10}
    best, refit = (
        predict(resolve_settings(flags(tmp_path, folds="5", final=final)), images, EXPECTED, PACE).ending
        for final in ("ensemble", "refit")
    )
    assert refit - best == pytest.approx(2 * (PROCESS_START_S + 5) + 2 * 3 * 120 * 0.1)


def test_a_time_budget_is_told(tmp_path: Path) -> None:
    assert predict(resolve_settings(flags(tmp_path, time_budget_min=1.0)), IMAGES, EXPECTED, PACE).cut_short


@pytest.mark.parametrize(("space", "has"), [("smoke", False), ("lora", False), ("wide", True), ("deep", True)])
def test_a_space_whose_trials_take_longer_than_the_recipe_is_known(tmp_path: Path, space: str, has: bool) -> None:
    assert _has_slower_trials(resolve_settings(flags(tmp_path, space=space))) == has


def test_a_lane_with_seats_starts_trials_one_after_another(tmp_path: Path) -> None:
    seconds = predict(resolve_settings(flags(tmp_path, trials_per_gpu="2")), IMAGES, EXPECTED, PACE)
    assert seconds.between_trials == pytest.approx(8 / 2 * 0.25)
    assert seconds.training == pytest.approx(12 * 100 * 0.1)  # rounds, each as long as the pace of full seats says
