"""A recording trains as a search does: the counts of a run equal those of the same trial on a lane's engine."""

import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tune_sa2va.bench.record.pieces import PIECES, piece_path
from tune_sa2va.bench.record.plan import RecordingPlan, Run, of_fold, with_seed
from tune_sa2va.bench.record.worker import RecordingBench, record_runs
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.trial import Trial


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RecordingPlan:
    folder = tmp_path_factory.mktemp("data")
    write_folder(folder, "leg", 4, 64, 0)
    return RecordingPlan(data=str(folder), space="wide", model="tiny", num_configurations=2, folds=2, seeds=1, epochs=1)


@pytest.mark.slow
def test_runs_are_the_trials_of_a_search(plan: RecordingPlan, tmp_path: Path) -> None:
    (tmp_path / PIECES).mkdir()
    run = Run(1, 0, 0)
    record_runs(plan, tmp_path, iter([run, None]).__next__, deadline=None)
    rows = pq.read_table(piece_path(tmp_path, run)).to_pylist()

    bench = RecordingBench.open(plan)
    train, val = (bench.images.some(numbers) for numbers in of_fold(bench.fold_of, 0))
    trial = Trial(Engine(bench.engine.model), train, val, with_seed(bench.configs[1], 0))
    list(trial.epochs())
    trial.close()
    found = [(row["tp"], row["fp"], row["fn"], row["tn"]) for row in rows]
    assert found == [(image.tp, image.fp, image.fn, image.tn) for image in trial.val_counts]
    assert [row["sample"] for row in rows] == of_fold(bench.fold_of, 0)[1]


def test_none_begins_after_the_deadline(plan: RecordingPlan, tmp_path: Path) -> None:
    (tmp_path / PIECES).mkdir()
    record_runs(plan, tmp_path, iter([Run(0, 0, 0), None]).__next__, deadline=time.time() - 1)
    assert not list((tmp_path / PIECES).iterdir())


@pytest.mark.slow
def test_a_trial_that_runs_an_encoder_has_its_pixels(plan: RecordingPlan, tmp_path: Path) -> None:
    (tmp_path / PIECES).mkdir()
    fields = {"encoder.sam2": "late", "data.strength": 0.5}
    by_hand = replace(plan, space=None, by_hand=({}, fields))
    record_runs(by_hand, tmp_path, iter([Run(0, 0, 0), Run(1, 0, 0), None]).__next__, deadline=None)
    recipe, adapted = (pq.read_table(piece_path(tmp_path, Run(number, 0, 0))) for number in (0, 1))
    assert len(recipe) == len(adapted) and not recipe.equals(adapted)
