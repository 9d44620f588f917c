"""With which GPUs and lanes a search goes on."""

from pathlib import Path

import pytest
import torch

from tests.plan.test_clock import flags
from tests.watch.runs import settings_in
from tune_sa2va.errors import DeviceError
from tune_sa2va.preflight.devices import devices_to_go_on


def test_a_search_goes_on_as_it_was_unless_told_otherwise(tmp_path: Path) -> None:
    on_cpus = settings_in(tmp_path)
    assert devices_to_go_on(on_cpus, flags(tmp_path, gpus=None, lanes=None)) == (0, on_cpus.lanes)
    assert devices_to_go_on(on_cpus, flags(tmp_path, gpus=None, lanes=7)) == (0, 7)
    on_gpus = on_cpus.model_copy(update={"gpus": 8, "gpus_per_trial": 2, "lanes": 4})
    there = flags(tmp_path, gpus=None, lanes=None, address="10.0.0.1:6379")
    assert devices_to_go_on(on_gpus, there) == (8, 4)
    assert devices_to_go_on(on_gpus, flags(tmp_path, gpus=2, lanes=None, address="10.0.0.1:6379")) == (2, 1)


def test_it_goes_on_with_the_gpus_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    settings = settings_in(tmp_path).model_copy(update={"gpus": 8, "gpus_per_trial": 2, "lanes": 4})
    with pytest.raises(DeviceError, match=r"ran on 8 GPUs, and this machine has room for trials on 2\. Add --gpus 2\."):
        devices_to_go_on(settings, flags(tmp_path, gpus=None, lanes=None))
    assert devices_to_go_on(settings, flags(tmp_path, gpus=2, lanes=None)) == (2, 1)
    with pytest.raises(DeviceError, match=r"multiple of --gpus-per-trial 2, got 3"):
        devices_to_go_on(settings, flags(tmp_path, gpus=3, lanes=None))


def test_trials_of_one_search_are_computed_on_devices_of_one_kind(tmp_path: Path) -> None:
    on_cpus = settings_in(tmp_path)
    with pytest.raises(DeviceError, match=r"--gpus 1: the search runs on CPUs, and GPUs round differently"):
        devices_to_go_on(on_cpus, flags(tmp_path, gpus=1, lanes=None))
    on_gpus = on_cpus.model_copy(update={"gpus": 1, "lanes": 1})
    with pytest.raises(DeviceError, match=r"--gpus 0: the search runs on GPUs, and CPUs round differently"):
        devices_to_go_on(on_gpus, flags(tmp_path, gpus=0, lanes=None))
