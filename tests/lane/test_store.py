"""Which checkpoints of a trial are kept, and when the others are deleted."""

import json
from pathlib import Path
from typing import Any

import pytest

from tune_sa2va.config import RECIPE
from tune_sa2va.lane.store import Flusher, TrialStore, prune_ended
from tune_sa2va.train.checkpoint_state import OPTIMIZER_FILE, sha256

CONFIG = RECIPE.replace({"train.epochs": 9})
pytestmark = pytest.mark.usefixtures("folders_for_refs")

VAL_DICE = (0.2, 0.9, 0.3, 0.4, 0.5)


def checkpoint(folder: Path) -> tuple[Path]:
    folder.mkdir()
    (folder / OPTIMIZER_FILE).write_bytes(b"moments")
    state = {"config": CONFIG.to_dict(), "sha256": {OPTIMIZER_FILE: sha256(folder / OPTIMIZER_FILE)}}
    (folder / "state.json").write_text(json.dumps(state))
    return (folder,)


def records(epochs: int) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"epoch": number + 1, "val_dice": VAL_DICE[number], "folds": 5, "folds_left": 0} for number in range(epochs)
    )


def kept(trial: Path) -> list[int]:
    return sorted(int(path.name[-4:]) for path in trial.iterdir())


@pytest.fixture
def flusher() -> Flusher:
    return Flusher()


@pytest.fixture
def trial(tmp_path: Path, flusher: Flusher) -> Path:
    """A trial of five stored epochs, each flushed once the next had begun."""
    folder, saved = tmp_path / "trial", checkpoint(tmp_path / "saved")
    store = TrialStore(folder, CONFIG, flusher)
    for epochs in range(1, 6):
        flusher.begin()
        store.save(records(epochs), saved)
    return folder


def test_the_last_two_and_the_best_stay_once_training_goes_on(trial: Path, flusher: Flusher) -> None:
    assert kept(trial) == [2, 3, 4, 5], "the one before the last two goes while the next epoch trains, not before"
    flusher.begin()
    flusher.settle()
    assert kept(trial) == [2, 4, 5]
    newest = TrialStore(trial, CONFIG, flusher).newest()
    assert (newest.records, newest.warning) == (records(5), "")


def test_with_one_split_the_last_counts_so_no_earlier_one_stays(tmp_path: Path, flusher: Flusher) -> None:
    folder, saved = tmp_path / "trial", checkpoint(tmp_path / "saved")
    store = TrialStore(folder, CONFIG, flusher)
    for epochs in range(1, 6):
        flusher.begin()
        store.save(tuple(record | {"folds": 1} for record in records(epochs)), saved)
    flusher.begin()
    flusher.settle()
    assert kept(folder) == [4, 5]


def test_a_cut_off_checkpoint_gives_way_to_the_one_before(trial: Path, flusher: Flusher) -> None:
    (trial / "checkpoint_0005" / OPTIMIZER_FILE).write_bytes(b"mom")
    newest = TrialStore(trial, CONFIG, flusher).newest()
    assert newest.records == records(4)
    assert "checkpoint_0005 is damaged, so the one before it was used" in newest.warning


def test_of_a_trial_that_is_over_the_best_adapter_stays_whenever_its_lane_comes_to_it(
    trial: Path, flusher: Flusher
) -> None:
    prune_ended(trial, best=2)
    assert kept(trial) == [2]
    flusher.begin()
    flusher.settle()
    assert kept(trial) == [2]
    assert not (trial / "checkpoint_0002" / OPTIMIZER_FILE).exists()


def test_an_epoch_that_the_search_never_heard_of_takes_no_known_one_along(tmp_path: Path, flusher: Flusher) -> None:
    folder, saved = tmp_path / "trial", checkpoint(tmp_path / "saved")
    store = TrialStore(folder, CONFIG, flusher)
    dices = (0.9, 0.2, 0.3, 0.95)
    told = [
        tuple({"epoch": e, "val_dice": d, "folds": 5, "folds_left": 0} for e, d in enumerate(dices[:n], start=1))
        for n in range(1, 5)
    ]
    for records_so_far in told:
        flusher.begin()
        store.save(records_so_far, saved)
    flusher.begin()  # as its lane closes: the time is up before Tune is told of epoch 4, the best of all
    flusher.settle()
    assert kept(folder) == [1, 3, 4]
    prune_ended(folder, best=1)
    assert kept(folder) == [1]


def test_without_the_epoch_that_the_tables_name_everything_stays(trial: Path) -> None:
    prune_ended(trial, best=1)
    assert kept(trial) == [2, 3, 4, 5]


def test_a_trial_whose_micro_batches_were_halved_goes_on_and_another_does_not(trial: Path, flusher: Flusher) -> None:
    assert CONFIG.train.micro_batch_size == 1
    other = CONFIG.replace({"train.micro_batch_size": 2})
    doubled = CONFIG.replace({"train.micro_batch_size": 4, "train.accumulation_steps": 2})
    path = trial / "checkpoint_0005" / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"config": doubled.to_dict()}))
    asked = CONFIG.replace({"train.micro_batch_size": 8})
    assert TrialStore(trial, asked, flusher).newest().records == records(5)
    assert TrialStore(trial, other, flusher).newest().records == ()
    assert not trial.exists(), "a trial of another configuration"


def test_among_equal_epochs_the_first_stays(tmp_path: Path, flusher: Flusher) -> None:
    folder, saved = tmp_path / "trial", checkpoint(tmp_path / "saved")
    store = TrialStore(folder, CONFIG, flusher)
    equal = tuple(
        {"epoch": number, "val_dice": dice, "folds": 5}
        for number, dice in enumerate((0.2, 0.9, 0.9, 0.9, 0.1), start=1)
    )
    for epochs in range(1, 6):
        flusher.begin()
        store.save(equal[:epochs], saved)
    flusher.begin()
    flusher.settle()
    assert kept(folder) == [2, 4, 5]
