"""What a worker replies: to trials that sit together, and when one fails or its images became unreadable."""

import errno
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.making import save
from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE, LaneSettings
from tune_sa2va.data import check, open_dataset, split_by_group
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.data.parts import cut_into_folds
from tune_sa2va.data.split_file import Names, read_names, write_split
from tune_sa2va.durable import is_full
from tune_sa2va.errors import TrialFailure
from tune_sa2va.lane import host as host_module
from tune_sa2va.lane import seat_choice
from tune_sa2va.lane import worker as worker_module
from tune_sa2va.lane.host import LaneHost
from tune_sa2va.lane.messages import NO_SEAT, Command, EndEpoch, LeaveSeats, Reply, RunRound, SetSeats, StartTrial
from tune_sa2va.lane.worker import _Worker
from tune_sa2va.train import seat_pace
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.step_kind import step_kind
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

CONFIG = RECIPE.replace({"train.epochs": 2, "lora.r": 4})

pytestmark = pytest.mark.usefixtures("folders_for_refs")


@pytest.fixture
def settings(tmp_path: Path) -> LaneSettings:
    return lane_settings(tmp_path)


@pytest.fixture
def names(settings: LaneSettings, tmp_path: Path) -> Names:
    return read_names(tmp_path)


def reply_of(settings: LaneSettings, names: Names, spoil: object) -> tuple[str, str, str]:
    """The failure of the first epoch after `spoil` of each training image and mask, its traceback and its kind."""
    bench = Workbench.open(settings, names, rank=0, world_size=1)
    worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), 0)
    assert worker.handle(StartTrial(trial="a", config=CONFIG)).failure == ""
    for sample in bench.samples:
        spoil(sample)  # type: ignore[operator]
    answer = worker.handle(RunRound(trials=("a",)))
    return answer.failure, answer.traceback, answer.kind


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lambda sample: sample.mask.write_bytes(b"none"), "DataError", "cannot be read as an image"),
        (lambda sample: save(sample.mask, np.zeros((5, 6), np.uint8)), "SizeMismatchError", "its mask 6 x 5"),
        (lambda sample: sample.mask.unlink(), "DataGoneError", "there is no such file"),
        (lambda sample: sample.image.unlink(), "DataGoneError", "cannot be read (No such file or directory)"),
    ],
    ids=["broken mask", "mask of another size", "mask gone", "image gone"],
)
def test_a_failure_by_data_names_a_code_and_its_kind(
    settings: LaneSettings, names: Names, tmp_path: Path, spoil: object, kind: str, said: str
) -> None:
    failure, told, found = reply_of(settings, names, spoil)
    assert found == kind and said in failure and "img-" in failure
    for text in (failure, told):
        assert str(tmp_path) not in text
        assert not any(Path(row["name"]).stem in text for row in names)
    assert told.startswith("Traceback") and "evaluate/examples.py" in told


def test_trials_that_sit_together_fail_and_leave_alone(
    settings: LaneSettings, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "pack_folder", lambda folder: sorted(path.name for path in folder.iterdir()))
    bench = Workbench.open(settings.model_copy(update={"seats": 2, "max_rank": 4}), names, rank=0, world_size=1)
    worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), 0)
    a, b = StartTrial(trial="a", config=CONFIG), StartTrial(trial="b", config=CONFIG.replace({"train.seed": 1}))
    assert not any(worker.handle(start).failure for start in (a, b))
    assert worker.handle(StartTrial(trial="c", config=CONFIG)).kind == NO_SEAT
    first = worker.handle(RunRound(trials=("b", "a")))
    assert [first.trials[name].record["epoch"] for name in "ab"] == [1, 1]  # type: ignore[index]

    spoilt = worker._trials["b"]
    spoilt.stepper.store.of(spoilt.stepper.store.values, spoilt.seat).fill_(torch.nan)  # type: ignore[union-attr]
    second = worker.handle(RunRound(trials=("a", "b")))
    assert second.failure == "" and second.trials["a"].record["epoch"] == 2  # type: ignore[index]
    assert second.trials["b"].kind == "NonFiniteError" and "not finite" in second.trials["b"].failure
    assert "state.json" in second.trials["a"].checkpoint and not second.trials["b"].checkpoint

    other = StartTrial(trial="d", config=CONFIG.replace({"train.accumulation_steps": 2}))
    assert worker.handle(other).kind == NO_SEAT, "it waits until all of another kind have left"
    worker.handle(LeaveSeats(trials=("a", "b")))
    assert worker.handle(other).failure == ""


def test_a_checkpoint_that_cannot_be_written_fails_its_own_trial(
    settings: LaneSettings, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(folder: Path) -> tuple[int]:
        seed = json.loads((folder / "state.json").read_text())["config"]["train"]["seed"]
        if seed == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return (seed,)

    monkeypatch.setattr(worker_module, "pack_folder", pack)
    bench = Workbench.open(settings.model_copy(update={"seats": 3, "max_rank": 4}), names, rank=0, world_size=1)
    worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), 0)
    for seed, name in enumerate("abc"):
        assert worker.handle(StartTrial(trial=name, config=CONFIG.replace({"train.seed": seed}))).failure == ""
    replies = worker.handle(RunRound(trials=("a", "b", "c"))).trials
    assert is_full(replies["b"].failure) and replies["b"].record is None
    assert [replies[name].checkpoint for name in "ac"] == [(0,), (2,)]
    assert worker.handle(StartTrial(trial="d", config=CONFIG)).failure == "", "its seat is free"


def test_an_epoch_that_ends_early_has_a_checkpoint_of_its_folds(
    settings: LaneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("state.json"))

    monkeypatch.setattr(worker_module, "pack_folder", files)
    samples = split_by_group(check(open_dataset(tmp_path / "data")).samples, seed=0)
    write_split(tmp_path, cut_into_folds(samples, 3, seed=0))
    names = read_names(tmp_path)
    bench = Workbench.open(settings, names, rank=0, world_size=1)
    worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), 0)
    assert worker.handle(StartTrial(trial="a", config=CONFIG)).failure == ""
    for _ in range(2):
        reply = worker.handle(RunRound(trials=("a",))).trials["a"]
        assert reply.counts and not reply.checkpoint
    ended = worker.handle(EndEpoch(trial="a"))
    assert ended.record is not None and (ended.record["folds"], ended.record["folds_left"]) == (2, 1)
    assert list(ended.checkpoint) == ["fold_0/state.json", "fold_1/state.json", "state.json"]


def test_a_round_that_fails_empties_all_seats(settings: LaneSettings, names: Names) -> None:
    bench = Workbench.open(settings.model_copy(update={"seats": 2, "max_rank": 4}), names, rank=0, world_size=1)
    worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), 0)
    assert not any(worker.handle(StartTrial(trial=name, config=CONFIG)).failure for name in "ab")
    for sample in bench.train.samples:
        sample.mask.unlink()
    answer = worker.handle(RunRound(trials=("a",)))
    assert (answer.kind, answer.trials) == ("DataGoneError", {})
    assert worker.handle(SetSeats(seats=1)).failure == "" and bench.engine.seats == 1


class _LaneHere:
    """A lane whose only worker is in this process."""

    alive = True

    def __init__(self, settings: LaneSettings, names: Names) -> None:
        bench = Workbench.open(settings, names, rank=0, world_size=1)
        self._worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), 0)

    def ask(self, command: Command) -> Reply:
        return self._worker.handle(command)


def epochs_of(host: LaneHost) -> tuple[list[dict[str, object]], object]:
    """What two trials come to in their first epoch, without times, and the files of their checkpoints."""
    for name, seed in (("a", 0), ("b", 1)):
        config = CONFIG.replace({"train.seed": seed, "lora.dropout": 0.1})
        assert host.reserve(name, step_kind(config)) is not None
        assert host.start(name, config, ()).failure == ""
    with ThreadPoolExecutor(2) as owners:
        replies = list(owners.map(host.run, "ab"))
    records = [reply.record for reply in replies]
    assert all(record is not None and record["seated"] == 2 for record in records)
    timed = ("it_per_s", "seconds", "train_seconds", "val_seconds")
    kept = [{name: value for name, value in record.items() if name not in timed} for record in records if record]
    return kept, [reply.checkpoint for reply in replies]


def test_a_lane_that_measured_its_seats_trains_as_one_that_did_not(
    settings: LaneSettings, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if memory runs out with all of its seats, it measures half as many."""

    def within_memory(trials: list[Trial]) -> list[EpochRecord | TrialFailure]:
        tried.append(len(trials))
        if len(trials) > 2:
            raise torch.OutOfMemoryError("Tried to allocate more than there is.")
        return run_epoch(trials)

    def weights(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}

    tried: list[int] = []
    monkeypatch.setattr(worker_module, "pack_folder", weights)
    monkeypatch.setattr(host_module, "Lane", _LaneHere)
    monkeypatch.setattr(seat_pace, "run_epoch", within_memory)
    monkeypatch.setattr(seat_pace, "STEPS", 2)
    monkeypatch.setattr(seat_pace, "_VAL_IMAGES", 1)
    monkeypatch.setattr(seat_choice, "GAIN", 0.0)  # which of them is faster here changes from run to run
    given = settings.model_copy(update={"seats": 2, "max_rank": 4, "any_dropout": True})
    wanted = epochs_of(LaneHost(given, names))
    measuring = LaneHost(given.model_copy(update={"seats": 4, "seats_probe": CONFIG}), names)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    assert measuring.reserve("first", step_kind(CONFIG)) and measuring.start("first", CONFIG, ()).failure == ""
    assert tried == [1] * 3 + [4] + [2] * 3
    news = measuring.news()
    assert news.seats == 2 and [pace.seats for pace in news.paces] == [1, 2]
    assert "memory ran out with 4" in news.notes[0]
    assert all(pace.it_per_s > 0 and pace.peak_gib == pace.estimate_gib == 0 for pace in news.paces)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]  # type: ignore[index]
    measuring.leave("first")
    assert epochs_of(measuring) == wanted
