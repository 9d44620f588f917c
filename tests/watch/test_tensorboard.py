"""Event files, read back by their own record format, without TensorBoard."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from tests.watch.runs import an_epoch
from tune_sa2va.config import RECIPE
from tune_sa2va.results.records import TrialState
from tune_sa2va.watch.tensorboard import TensorBoardFiles


def events(folder: Path) -> Iterator[Event]:
    """TFRecord: length, its masked CRC-32C, the data, its masked CRC-32C; all little-endian."""
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            record, (checksum,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
            crc = crc32c(record)
            assert checksum == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
            yield Event.FromString(record)
            data = data[16 + length :]


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [
        (event.step, pytest.approx(value.simple_value))
        for event in events(folder)
        for value in event.summary.value
        if value.tag == name and value.HasField("simple_value")
    ]


def test_a_curve_has_a_point_an_epoch_and_the_run_its_hyperparameters(tmp_path: Path) -> None:
    files = TensorBoardFiles(tmp_path)
    files.started("0003", "lane 1", RECIPE, 0)
    files.epoch("0003", "lane 1", an_epoch(1, 0.61), None)
    files.epoch("0003", "lane 1", an_epoch(2, 0.6) | {"grad_norm": float("nan")}, None)
    folder = tmp_path / "tensorboard" / "0003"
    assert scalars(folder, "val_dice") == [(1, 0.61), (2, 0.6)]  # before the file is closed
    assert scalars(folder, "grad_norm") == [(1, 0.5)]
    files.ended("0003", "lane 1", TrialState.STOPPED, "", "")
    values = [value for event in events(folder) for value in event.summary.value]
    (start,) = [value for value in values if value.tag == "_hparams_/session_start_info"]
    told = HParamsPluginData.FromString(start.metadata.plugin_data.content).session_start_info.hparams
    assert told["lora.r"].number_value == RECIPE.lora.r
    assert "q_proj" in told["lora.target_modules"].string_value


def test_a_resumed_trial_goes_on_and_a_new_one_starts_anew(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard" / "0003"
    first = TensorBoardFiles(tmp_path)
    first.started("0003", "lane 1", RECIPE, 0)
    first.epoch("0003", "lane 1", an_epoch(1, 0.61), None)
    first.close()
    resumed = TensorBoardFiles(tmp_path)
    resumed.started("0003", "lane 2", RECIPE, 1)
    resumed.epoch("0003", "lane 2", an_epoch(2, 0.62), None)
    resumed.interrupted("0003", "lane 2", "lost")
    assert sorted(step for step, _ in scalars(folder, "val_dice")) == [1, 2]
    assert any(event.session_log.status for event in events(folder))  # later steps of the first file are void
    resumed.started("0003", "lane 3", RECIPE, 0)
    resumed.close()
    assert scalars(folder, "val_dice") == []
