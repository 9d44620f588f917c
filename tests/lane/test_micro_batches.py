"""A trial that runs out of memory continues with smaller micro-batches, within the limits of the config's fields."""

import json
from pathlib import Path

import pytest

from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.lane.host import OUT_OF_MEMORY
from tune_sa2va.lane.messages import Reply
from tune_sa2va.lane.micro_batches import halved
from tune_sa2va.lane.store import Flusher, TrialStore
from tune_sa2va.lane.trainable import LaneTrainable
from tune_sa2va.train.checkpoint_state import objective

pytestmark = pytest.mark.usefixtures("folders_for_refs")


def a_trial(micro_batch: int, accumulation: int) -> TrialConfig:
    return RECIPE.replace({"train.micro_batch_size": micro_batch, "train.accumulation_steps": accumulation})


def shape(config: TrialConfig) -> tuple[int, int]:
    return config.train.micro_batch_size, config.train.accumulation_steps


@pytest.mark.parametrize(
    ("start", "shapes"),
    [
        ((8, 200), [(4, 400), (2, 800)]),
        ((8, 1), [(4, 2), (2, 4), (1, 8)]),
        ((256, 1024), []),
        ((2, 512), [(1, 1024)]),
        ((6, 1), [(3, 2)]),
    ],
)
def test_as_small_as_the_limits_allow(start: tuple[int, int], shapes: list[tuple[int, int]]) -> None:
    found, config = [], halved(a_trial(*start))
    while config is not None:
        found.append(shape(config))
        assert objective(config) == objective(a_trial(*start))
        config = halved(config)
    assert found == shapes


class NoMemory(LaneTrainable):
    """Replies like a lane that runs out of memory in every epoch; has no worker group."""

    def __init__(self, config: TrialConfig, folder: Path) -> None:
        self.asked: list[tuple[int, int]] = []
        self._config, self._store, self._is_started = config, TrialStore(folder, config, Flusher()), False
        self._stored = self._store.newest()

    def _start(self) -> Reply:
        self.asked.append(shape(self._config))
        return Reply(failure="Out of memory: no more", kind=OUT_OF_MEMORY)


def test_where_nothing_smaller_is_left_the_trial_fails_as_out_of_memory(tmp_path: Path) -> None:
    lane = NoMemory(a_trial(8, 200), tmp_path)
    answer = lane._run_epoch()
    assert (answer.kind, answer.failure) == (OUT_OF_MEMORY, "Out of memory: no more")
    assert lane.asked == [(8, 200), (4, 400), (2, 800)]


def a_checkpoint(folder: Path, config: TrialConfig) -> tuple[Path]:
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"config": config.to_dict(), "sha256": {}}))
    return (folder,)


def test_a_halved_trial_is_found_again_when_the_search_is_resumed(tmp_path: Path) -> None:
    asked, got = a_trial(8, 200), a_trial(2, 800)
    TrialStore(tmp_path / "trial", got, Flusher()).save(
        ({"epoch": 1, "val_dice": 0.5},), a_checkpoint(tmp_path / "saved", got)
    )
    assert TrialStore(tmp_path / "trial", asked, Flusher()).newest().folder is not None
    assert TrialStore(tmp_path / "trial", a_trial(8, 100), Flusher()).newest().folder is None
