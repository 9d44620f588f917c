"""Filling: every picture is encoded once, kills and damage do no harm, and too little room is an error."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.train.bench import lane_settings
from tune_sa2va.cache import room
from tune_sa2va.cache.fill import FillProgress, fill
from tune_sa2va.cache.listing import cached_bases, remove
from tune_sa2va.cache.store import FeatureCache, Picture, pictures
from tune_sa2va.data import Sample, image_size, load_image
from tune_sa2va.data.split_file import read_split
from tune_sa2va.data.variants import Variant, laid_out
from tune_sa2va.errors import CacheError, DamagedFeaturesError
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.encoding import EncodersReleasedError, encode, release_encoders
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.preprocess import encoder_inputs
from tune_sa2va.model.sa2va import Sa2VA

TINY = model_folder("tiny")


@pytest.fixture(scope="module")
def model() -> Sa2VA:
    return load_model(TINY, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("data")
    settings = lane_settings(folder)
    return list(read_split(folder, settings.data))[:3]


def cache_in(folder: Path) -> FeatureCache:
    return FeatureCache(folder, TINY, torch.float32, raw_high_res=False)


def test_cached_features_are_bit_for_bit_those_of_the_model(
    model: Sa2VA, samples: list[Sample], tmp_path: Path
) -> None:
    cache = cache_in(tmp_path)
    seen: list[FillProgress] = []
    assert fill(cache, model, pictures(samples[:1], "none"), on_progress=seen.append) == 1
    assert (seen[0].present, seen[-1].present, seen[-1].total) == (0, 1, 1)
    for sample in samples[:1]:
        inputs = encoder_inputs(load_image(sample.image), model.dims)
        with torch.no_grad():
            direct = model.encode_image(inputs.pixel_values, inputs.g_pixel_values, project_high_res=True)
        stored, copied = cache.load(sample), cache.load(sample, out=torch.empty(2**25, dtype=torch.uint8))
        for name in ("image_tokens", "embed", "high_res_1", "high_res_0"):
            assert torch.equal(getattr(stored, name), getattr(direct, name)), name
            assert torch.equal(getattr(copied, name), getattr(direct, name)), name
    assert fill(cache, model, pictures(samples[:1], "none")) == 0


def test_variants_are_features_of_the_laid_out_picture(model: Sa2VA, samples: list[Sample], tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    fill(cache, model, [Picture(samples[0].image, Variant.TURNED_90)])
    turned = encode(model, laid_out(load_image(samples[0].image), Variant.TURNED_90), raw_high_res=False)
    assert torch.equal(cache.load(samples[0], Variant.TURNED_90).embed, turned.embed)
    assert len(pictures(samples, "flips")) == 4 * len(samples)
    with pytest.raises(CacheError, match="Start again"):
        cache.load(samples[0])


def test_damaged_files_are_encoded_again_and_foreign_ones_left_alone(
    model: Sa2VA, samples: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = pictures(samples[:2], "none")
    cache = cache_in(tmp_path)
    fill(cache, model, wanted)
    cut, flipped = (cache.path(picture) for picture in wanted)
    whole = cut.read_bytes(), flipped.read_bytes()
    cut.write_bytes(whole[0][:-1])
    flipped.write_bytes(whole[1][:40] + bytes([whole[1][40] ^ 4]) + whole[1][41:])
    (cache.folder / "notes.txt").write_text("mine")
    with caplog.at_level(logging.WARNING):
        again = cache_in(tmp_path)
        assert fill(again, model, wanted) == 2
    assert caplog.text.count("encoded again") == 2
    assert (cut.read_bytes(), flipped.read_bytes()) == whole
    cache.close()
    again.close()
    (base,) = cached_bases(tmp_path)
    assert base.pictures == 2
    remove(base)
    assert [path.name for path in base.folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("buffer", [None, torch.empty(2**25, dtype=torch.uint8)], ids=["mapped", "copied"])
@pytest.mark.parametrize("place", [40, -1])
def test_a_file_that_is_damaged_after_the_filling_is_deleted_and_encoded_again(
    model: Sa2VA, samples: list[Sample], tmp_path: Path, buffer: torch.Tensor | None, place: int
) -> None:
    cache, wanted = cache_in(tmp_path), pictures(samples[:1], "none")
    fill(cache, model, wanted)
    file = cache.path(wanted[0])
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(DamagedFeaturesError, match=f"{file}: .* changed"):
        cache.load(samples[0], out=buffer)
    assert not file.exists()
    assert fill(cache, model, wanted) == 1
    assert file.read_bytes() == whole
    cache.load(samples[0], out=buffer)


def test_what_a_killed_process_left_is_taken_over(model: Sa2VA, samples: list[Sample], tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    (picture,) = pictures(samples[:1], "none")
    part = cache.path(picture).with_name(cache.path(picture).name + ".part")
    part.write_bytes(b"half a header")
    assert fill(cache, model, [picture]) == 1
    assert not part.exists() and cache.missing([picture]) == []


_SCRIPT = """
import sys, torch
from pathlib import Path
from tune_sa2va.cache.fill import fill
from tune_sa2va.cache.store import FeatureCache, Picture
from tune_sa2va.data.variants import Variant
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.locate import model_folder
torch.set_num_threads(1)
folder = model_folder("tiny")
model = load_model(folder, device=torch.device("cpu"), dtype=torch.float32)
cache = FeatureCache(Path(sys.argv[1]), folder, torch.float32, raw_high_res=False)
print("ready", flush=True)
print(fill(cache, model, [Picture(Path(sys.argv[2]), variant) for variant in Variant]), flush=True)
"""


def _filler(folder: Path, image: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SCRIPT, str(folder), str(image)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow  # three processes that each load torch
def test_processes_share_the_work_and_a_kill_costs_nothing(samples: list[Sample], tmp_path: Path) -> None:
    killed, *others = [_filler(tmp_path, samples[0].image) for _ in range(3)]
    assert killed.stdout is not None
    killed.stdout.readline()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    counts = [int(other.communicate(timeout=120)[0].split()[-1]) for other in others]
    before = len(list(tmp_path.glob("*/*.safetensors")))
    assert before == 8 and not list(tmp_path.glob("*/*.part"))
    assert sum(counts) <= 8  # none is encoded twice; what the killed process finished is kept


def test_no_room_is_said_before_anything_is_encoded(
    model: Sa2VA, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path)
    wanted = pictures(samples, "none")
    with pytest.raises(CacheError, match=r"3 pictures need 0\.0 GiB .* --cache-limit is 0\.001 GiB"):
        fill(cache, model, wanted, limit_gib=0.001)
    monkeypatch.setattr(room, "SPARE_BYTES", 2**60)
    with pytest.raises(CacheError, match=r"the disk has [\d.]+ GiB left"):
        fill(cache, model, wanted)
    assert cache.missing(wanted) == wanted


@pytest.mark.parametrize("raw", [False, True])
def test_the_predicted_bytes_are_those_written(model: Sa2VA, samples: list[Sample], tmp_path: Path, raw: bool) -> None:
    cache = FeatureCache(tmp_path, TINY, torch.float32, raw_high_res=raw)
    (picture,) = pictures(samples[:1], "none")
    fill(cache, model, [picture])
    size = [image_size(picture.image)]
    assert room.features_bytes(model.dims, size, torch.float32, raw_high_res=raw) == (
        cache.path(picture).stat().st_size
    )


def test_released_encoders_say_so() -> None:
    model = load_model(TINY, device=torch.device("cpu"), dtype=torch.float32)
    release_encoders(model)
    with pytest.raises(EncodersReleasedError, match="Load the model again"):
        encode(model, torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), raw_high_res=False)
