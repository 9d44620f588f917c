"""Searches simulated by hand, and a committed search predicted from the parts in its own records."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tune_sa2va.bench.__main__ import app
from tune_sa2va.bench.adds_up import Load, Parts, compare, parts_of_benchmarks, predict
from tune_sa2va.bench.lane_split import PARTS, split_lanes
from tune_sa2va.errors import UserError
from tune_sa2va.plan.table import TABLES
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.preflight.settings import resolve_settings
from tune_sa2va.results.records import read_epochs

CORONARY = TABLES.parent / "coronary"
SIMPLE = Parts(train_s=8.0, val_s=2.0, between_epochs_s=1.0, turnaround_s=3.0, opening_s=5.0, source="made up")


def test_one_trial_is_added_up_by_hand() -> None:
    found = predict(SIMPLE, Load(trials=1, epochs=4, lanes=1))
    assert found["seconds"] == found["low_s"] == found["high_s"] == 5 + 4 * 10 + 3 * 1
    assert found["training"] == pytest.approx(32 / 48) and found["idle"] == 0


def test_lanes_that_wait_for_the_last_trial_are_idle() -> None:
    found = predict(SIMPLE, Load(trials=3, epochs=4, lanes=2), lengths=[4, 1, 2])
    # Lane 1: trial 0 until 48. Lane 2: trial 1 until 15, then 3 + 10 + 1 + 10 until 39.
    assert found["seconds"] == 48 and found["epochs"] == 7
    assert found["idle"] == pytest.approx((48 - 39) / 96)


def test_more_gpus_end_sooner_but_not_sooner_than_the_recipe() -> None:
    one, four, many = (predict(SIMPLE, Load(trials=32, epochs=15, lanes=lanes)) for lanes in (1, 4, 32))
    assert one["seconds"] > 3 * four["seconds"] > 3 * many["seconds"]
    assert many["seconds"] >= 5 + 15 * 10 + 14 * 1


def test_parts_come_from_the_committed_benchmarks() -> None:
    parts = parts_of_benchmarks(TABLES / "2026-11-24_h200", side_px=512, train_images=976, val_images=244)
    assert parts.train_s == pytest.approx(976 * 0.021024, rel=1e-3) and parts.val_s == pytest.approx(1.981, rel=1e-3)
    assert parts.turnaround_s == pytest.approx(0.34, abs=0.01) and parts.opening_s == pytest.approx(64.4, abs=0.1)
    with pytest.raises(UserError, match="300x300"):
        parts_of_benchmarks(TABLES / "2026-11-24_h200", side_px=300, train_images=1, val_images=1)


def test_a_committed_search_splits_into_its_lanes_time() -> None:
    epochs = read_epochs(CORONARY)
    *lanes, together = split_lanes(epochs)
    first = epochs["ended_at"] - pd.to_timedelta(epochs["seconds"], unit="s")
    for row in lanes:
        begun = first[epochs["lane"] == row["lane"]].min()
        assert row["seconds"] == pytest.approx((epochs["ended_at"].max() - begun).total_seconds(), abs=0.1)
        assert all(row[part] >= 0 for part in PARTS)
    assert together["epochs"] == len(epochs) and 0.5 < together["work_share"] < 1


def test_a_committed_search_took_what_its_parts_add_up_to() -> None:
    epochs = read_epochs(CORONARY)
    load = Load(trials=epochs["trial_id"].nunique(), epochs=int(epochs["epoch"].max()), lanes=2)
    as_run, _ = compare(CORONARY, epochs, load, None)
    assert abs(as_run["difference_percent"]) < 10


def test_a_results_folder_is_held_against_its_prediction(tmp_path: Path) -> None:
    for name in ("epochs.parquet", "split.parquet"):
        shutil.copy(CORONARY / name, tmp_path / name)
    flags = Flags(
        data=None, allow_outside=False, model="tiny", space="smoke", out=tmp_path / "out", name="x", trials=12,
        epochs=6, time_budget_min=None, sampler="tpe", seed=0, gpus=0, gpus_per_trial=1, lanes=2, max_disk_gib=None,
        cache_limit_gib=None, memory="auto", address=None, storage=None, confirm="0", seeds=2, warm_start=None,
        folds="1", final="auto", grace_period=1, reduction_factor=3,
    )  # fmt: skip
    resolve_settings(flags).save(tmp_path)
    arguments = ["search", "--run", str(tmp_path), "--parts", str(TABLES / "2026-11-24_h200"), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "search.json").read_text())
    assert [row["lane"] for row in written["lanes"]] == ["lane 1", "lane 2", "all"]
    own, _, given, _ = written["predicted"]
    assert own["measured_s"] == given["measured_s"] and own["epochs"] == given["epochs"]
    # An H200 is faster than two CPU cores, though with 45 images most of it is compilation.
    assert given["seconds"] < own["seconds"] and given["opening"] > 0.5
