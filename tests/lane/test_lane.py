"""A lane with two CPU workers: trials start, fail, resume and end in it, and its death raises an error."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.state import list_actors

from tests.listening import listening
from tune_sa2va.cache.place import features_folder
from tune_sa2va.config import RECIPE, DataSettings, LaneSettings, ModelSettings
from tune_sa2va.data import open_dataset, split_by_group
from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.data.split_file import Names, read_names, write_split
from tune_sa2va.lane.group import Lane, LaneLostError, LaneNotOpenedError
from tune_sa2va.lane.messages import LeaveSeats, RunRound, StartTrial, unpack_folder
from tune_sa2va.lane.process_group import torch_config
from tune_sa2va.search.cluster import start_own_ray

CONFIG = RECIPE.replace({"train.epochs": 2, "lora.r": 4})
ROUND, LEAVE = RunRound(trials=("a",)), LeaveSeats(trials=("a",))


@pytest.fixture(scope="module", autouse=True)
def _own_ray() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    start_own_ray(num_cpus=4, num_gpus=0)
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)  # ray.init has set its own


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LaneSettings:
    folder = tmp_path_factory.mktemp("lane")
    data = write_folder(folder / "data", DEMO_FAMILY, count=8, size=96, seed=0)
    write_split(folder, split_by_group(open_dataset(data).samples, seed=0))
    return LaneSettings(
        model=ModelSettings(model="tiny", precision="fp32"),
        data=DataSettings(source=str(data)),
        feature_cache=features_folder(),
        raw_high_res=True,
        num_workers=2,
        use_gpu=False,
    )


@pytest.fixture(scope="module")
def names(settings: LaneSettings) -> Names:
    """The split, which is all that workers get of a results folder."""
    return read_names(Path(settings.data.source).parent)


def worker_pids() -> set[int]:
    actors = list_actors(filters=[("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")])
    return {actor.pid for actor in actors}


def test_our_own_ray_keeps_workers_on_loopback() -> None:
    """Asked in an actor, as the owner of a lane is one."""

    def backends() -> list[str]:
        return [torch_config(num_workers).backend_cls.__name__ for num_workers in (1, 2)]

    assert ray.get(ray.remote(num_cpus=0)(backends).remote()) == ["Backend", "_LoopbackBackend"]


def test_two_workers_take_one_trial_after_the_other_until_one_dies(
    settings: LaneSettings, names: Names, tmp_path: Path
) -> None:
    lane = Lane(settings, names)
    try:
        assert lane.ask(StartTrial(trial="a", config=CONFIG)).failure == ""
        pids = worker_pids()
        assert len(pids) == 2

        first = lane.ask(ROUND).trials["a"]
        assert listening(map(psutil.Process, pids)) == {"127.0.0.1"}
        assert first.record is not None and first.record["epoch"] == 1
        unpack_folder(first.checkpoint, tmp_path / "checkpoint")
        assert (tmp_path / "checkpoint" / "adapter" / "adapter_model.safetensors").stat().st_size > 0

        lane.ask(LEAVE)
        impossible = lane.ask(StartTrial(trial="a", config=CONFIG.replace({"lora.target_modules": ["no_such_module"]})))
        assert "no_such_module" in impossible.failure and "Traceback" in impossible.traceback

        assert lane.ask(StartTrial(trial="a", config=CONFIG, checkpoint=first.checkpoint)).failure == ""
        second = lane.ask(ROUND).trials["a"]
        assert second.record is not None and second.record["epoch"] == 2
        assert lane.ask(LEAVE).failure == ""

        assert lane.ask(StartTrial(trial="a", config=CONFIG)).failure == ""
        again = lane.ask(ROUND).trials["a"]
        assert again.record is not None and again.record["train_loss"] == first.record["train_loss"]
        assert worker_pids() == pids

        os.kill(min(pids), signal.SIGKILL)
        killed_at = time.monotonic()
        with pytest.raises(LaneLostError):
            lane.ask(ROUND)
        assert not lane.alive and time.monotonic() - killed_at < 60, "the other worker waits for the dead one"
    finally:
        lane.close()


@pytest.mark.slow
def test_a_lane_that_cannot_open_says_why_and_leaves_no_worker(
    settings: LaneSettings, names: Names, tmp_path: Path
) -> None:
    data = settings.data.model_copy(update={"source": str(tmp_path / "absent")})
    lane = Lane(settings.model_copy(update={"data": data, "num_workers": 1}), names)
    with pytest.raises(LaneNotOpenedError, match="the images are gone"):
        lane.ask(ROUND)
    lane.close()  # waits some seconds only; on a busy machine Ray Train takes longer
    deadline = time.monotonic() + 120
    while (lane.alive or worker_pids()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not lane.alive and worker_pids() == set()


def test_the_owner_of_a_lane_imports_no_model() -> None:
    """Owner, Ray Train's controller and worker start one after the other, and the model's modules take seconds."""
    look = "import sys, tune_sa2va.lane.trainable; print({'transformers', 'peft'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
