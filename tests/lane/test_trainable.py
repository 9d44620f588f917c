"""How an owner handles its workers' replies: smaller batches, failures with a finite value, epochs reported again."""

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.watch.runs import an_epoch
from tune_sa2va.config import RECIPE, DataSettings, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.lane import host as module
from tune_sa2va.lane.host import OUT_OF_MEMORY
from tune_sa2va.lane.messages import Command, LeaveSeats, Reply, RunRound, StartTrial
from tune_sa2va.lane.trainable import FAILURE_KIND, INFEASIBLE_GIB, PAUSE, LaneTrainable
from tune_sa2va.results.fold_note import read_folds_done

pytestmark = pytest.mark.usefixtures("folders_for_refs")

EPOCHS = 2


class Workers:
    """Replies like a worker group with memory for `room` images, and records the commands."""

    def __init__(self, room: int, checkpoint: Callable[[TrialConfig], tuple[Path]]) -> None:
        self.room, self.asked, self.alive = room, [], True
        self.val_dice = 0.5
        self.failures: list[Reply] = []
        self.closed = 0
        self._checkpoint, self._epoch = checkpoint, 0

    def ask(self, command: Command) -> Reply:
        self.asked.append(command)
        if isinstance(command, StartTrial):
            self._config = command.config
            return Reply()
        if isinstance(command, LeaveSeats):
            return Reply()
        if self.failures:
            return self.failures.pop(0)
        if self._config.train.micro_batch_size > self.room:
            return Reply(failure="Out of memory.", kind=OUT_OF_MEMORY, needed_gib=90.0)
        self._epoch += 1
        record, checkpoint = an_epoch(self._epoch, self.val_dice), self._checkpoint(self._config)
        return Reply(trials={"default": Reply(record=record, checkpoint=checkpoint)})

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    def checkpoint(config: TrialConfig) -> tuple[Path]:
        folder = tmp_path / "saved"
        folder.mkdir(exist_ok=True)
        (folder / "state.json").write_text(json.dumps({"config": config.to_dict(), "sha256": {}}))
        return (folder,)

    found = Workers(1, checkpoint)
    monkeypatch.setattr(module, "Lane", lambda *_: found)
    return found


def owner(storage: Path, micro_batch_size: int) -> LaneTrainable:
    def configure(_: Any) -> TrialConfig:
        return RECIPE.replace({"train.epochs": EPOCHS, "train.micro_batch_size": micro_batch_size})

    settings = LaneSettings(
        model=ModelSettings(model="tiny", precision="fp32"), data=DataSettings(source="x"),
        feature_cache=storage, raw_high_res=False, num_workers=1, use_gpu=False,
    )  # fmt: skip
    made = LaneTrainable.__new__(LaneTrainable)
    made._trial_info = None  # so that Tune calls the trial "default"
    made.setup({}, settings, [], configure, storage, lambda *_: "")
    return made


def sizes(workers: Workers) -> list[tuple[int, int]]:
    trains = [command.config.train for command in workers.asked if isinstance(command, StartTrial)]
    return [(train.micro_batch_size, train.accumulation_steps) for train in trains]


def test_where_memory_runs_out_micro_batches_are_halved_and_steps_stay(workers: Workers, tmp_path: Path) -> None:
    workers.room = 2
    result = owner(tmp_path, 8).step()
    assert sizes(workers) == [(8, 1), (4, 2), (2, 4)]
    assert result["failure"] == "" and result["epoch"] == 1 and not result["done"]
    assert result["warning"] == "memory ran out with micro-batches of 8, so they are of 2 now"


def test_what_does_not_fit_is_a_failure_with_what_it_needed(workers: Workers, tmp_path: Path) -> None:
    workers.room = 0
    result = owner(tmp_path, 6).step()
    assert sizes(workers) == [(6, 1), (3, 2)], "an odd one cannot be halved"
    assert (result["val_dice"], result["done"], result[INFEASIBLE_GIB]) == (0.0, True, 90.0)
    assert result[FAILURE_KIND] == OUT_OF_MEMORY and "epoch" not in result


def test_a_trial_that_tune_knows_less_of_is_told_and_not_run_again(workers: Workers, tmp_path: Path) -> None:
    workers.room = 4
    first = owner(tmp_path, 8).step()
    before = len(workers.asked)
    again = owner(tmp_path, 8)  # Tune's state is from before the first epoch
    told = again.step()
    assert len(workers.asked) == before
    assert {name: told[name] for name in ("epoch", "val_dice", "warning")} == {
        name: first[name] for name in ("epoch", "val_dice", "warning")
    }
    last = again.step()
    start = next(command for command in workers.asked[before:] if isinstance(command, StartTrial))
    assert start.checkpoint and last["epoch"] == 2 and last["done"]
    ended = owner(tmp_path, 8)
    ended._known_epochs = 2
    before = len(workers.asked)
    assert ended.step()["done"] and len(workers.asked) == before


def test_nothing_to_score_is_a_failure(workers: Workers, tmp_path: Path) -> None:
    workers.val_dice = math.nan
    result = owner(tmp_path, 1).step()
    assert result[FAILURE_KIND] == "NothingToScore" and result["val_dice"] == 0.0 and result["done"]


def test_a_full_disk_pauses_and_fails_nothing(workers: Workers, tmp_path: Path) -> None:
    workers.failures = [Reply(trials={"default": Reply(failure=os.strerror(errno.ENOSPC), kind="OSError")})]
    result = owner(tmp_path, 1).step()
    assert "is full" in result[PAUSE] and result["failure"] == "" and not result["done"]


def test_images_that_are_gone_pause_and_fail_nothing(workers: Workers, tmp_path: Path) -> None:
    workers.failures = [Reply(failure="img-12: cannot be read. Put it back.", kind="DataGoneError")]
    result = owner(tmp_path, 1).step()
    assert result[PAUSE] == "img-12: cannot be read. Put it back."
    assert result["failure"] == "" and not result["done"]


def test_damaged_features_open_the_lane_again_and_the_epoch_says_so(workers: Workers, tmp_path: Path) -> None:
    damaged = Reply(failure="x: the features are damaged. Start again.", kind="DamagedFeaturesError")
    workers.failures = [damaged, damaged]
    result = owner(tmp_path, 1).step()
    assert result["failure"] == "" and result["epoch"] == 1 and workers.closed == 2
    assert result["warning"] == "x: the features are damaged, so the lane was reopened and the image encoded again"
    assert [type(command) for command in workers.asked].count(StartTrial) == 3


def test_a_disk_that_damages_all_features_is_a_failure(workers: Workers, tmp_path: Path) -> None:
    damaged = Reply(failure="x.safetensors: the features of an image cannot be read.", kind="DamagedFeaturesError")
    workers.failures = [damaged] * 9
    assert owner(tmp_path, 1).step()["failure"] == damaged.failure


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"epoch": null}'])
def test_a_note_of_tunes_that_cannot_be_read_costs_no_trial(workers: Workers, tmp_path: Path, note: str | None) -> None:
    checkpoint = tmp_path / "note"
    checkpoint.mkdir()
    if note is not None:
        (checkpoint / "epoch.json").write_text(note)
    trial = owner(tmp_path, 1)
    trial.load_checkpoint(str(checkpoint))
    assert trial.step()["epoch"] == 1


def test_after_each_fold_it_is_noted_how_many_are_done_and_with_the_epoch_forgotten(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three folds: two answers with counts alone, then the record."""
    made, seen, folds = owner(tmp_path, 1), [], []

    def ask(command: Command) -> Reply:
        if isinstance(command, RunRound) and len(folds) < 2:
            folds.append(command)
            return Reply(trials={"default": Reply(counts=([1, 0, 0, 1], None))})
        return plain(command)

    def judge(_: Any, trial_id: str, epoch: int, counts: Any) -> str:
        seen.append((epoch, read_folds_done(tmp_path / "checkpoints", trial_id, epoch)))
        return ""

    plain = workers.ask
    monkeypatch.setattr(workers, "ask", ask)
    made._judge = judge
    assert made.step()["epoch"] == 1
    assert seen == [(1, 1), (1, 2)]
    assert read_folds_done(tmp_path / "checkpoints", "default", 1) == 0
