"""Damages good files at random and feeds them to the readers: `python -m tests.bad_inputs.fuzz --minutes 5`.

Each reader may give back what it reads or raise `UserError`; anything else, a case of more than 20 s, or one that wants
more than 4 GiB above what Python started with is a finding, whose file is kept. Readers run in a process of their own,
so that a crash in a decoder is a finding, too, and the rest goes on.
"""

import argparse
import contextlib
import functools
import gzip
import json
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from PIL import Image
from safetensors.numpy import save_file

from tests.cache.test_feature_file import some_features
from tests.data.making import picture, rectangle_mask, rectangle_outline, save, save_pair, write_csv, write_parquet
from tests.data.test_dicom import write as write_dicom
from tests.evaluate.tuned_folder import a_tuned
from tests.report.making import record
from tune_sa2va.cache.feature_file import DamagedFileError, map_file, write
from tune_sa2va.config import NO_ENCODER, RECIPE, LoraSettings
from tune_sa2va.data import check, image_size, load_image, load_mask_file, open_dataset
from tune_sa2va.data.dicom import frames_of
from tune_sa2va.data.images import load_label_mask
from tune_sa2va.data.labels import parse_labels
from tune_sa2va.data.rules import Rules
from tune_sa2va.data.split_file import read_names, write_split
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned import TUNED_FILE, read_tuned
from tune_sa2va.model.adapter import _peft_config, _read_config, _read_tensors
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder, preset_names
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.shards import read_shards
from tune_sa2va.results.records import RunRecords, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.search_space import SHIPPED_SPACES, load_space

_CASES_A_PROCESS = 300
_SECONDS_A_CASE = 20
_GIB_A_CASE = 4
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TOKENS = (b"..", b"/etc/passwd", b"\0", b"1e999", b"-1", b"NaN", b"[" * 50, b"{", b"9" * 400, b"\xff\xfe", b'"', b"*a")


_READERS: dict[str, Callable[[Path], object]] = {
    "space.yaml": load_space,
    "search.yaml": lambda path: SearchSettings.load(path.parent),
    "trials.parquet": lambda path: read_trials(path.parent),
    "epochs.parquet": lambda path: read_epochs(path.parent),
    "names.parquet": lambda path: read_names(path.parent),
    "features": map_file,
    TUNED_FILE: lambda path: read_tuned(path.parent),
    "adapter_config.json": lambda path: _read_config(path, _tiny()),
    "config.json": lambda path: read_dims(path.parent),
    "model.safetensors.index.json": lambda path: read_shards(path.parent),
}
"""File name -> who reads it; the others are pictures and lists of a data set."""


@functools.cache
def _tiny() -> Sa2VA:
    return outline_of(model_folder("tiny"))


def seeds() -> dict[str, list[bytes]]:
    """File name -> good contents, of each kind that a reader opens."""
    found: dict[str, list[bytes]] = {f"a.{ending}": [] for ending in ("png", "tif", "jpg", "bmp", "gif", "ppm")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grey = picture(0)
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
            values = (
                Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
            )
            for ending in found:
                try:
                    values.save(folder / ending)
                except (OSError, ValueError):  # the format does not hold this mode
                    continue
                found[ending].append((folder / ending).read_bytes())
        for planes in ({}, {"compression": "zlib"}, {"tile": (16, 16)}):
            colour = np.stack([grey, grey, grey]).astype(np.uint16) * 257
            tifffile.imwrite(folder / "a.tif", colour, photometric="rgb", planarconfig="separate", **planes)
            found["a.tif"].append((folder / "a.tif").read_bytes())
        found["a.ppm.gz"] = [gzip.compress(content) for content in found["a.ppm"]]
        found["a.dcm"] = _dicom_files(folder)
        for options in ({"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">"}):
            tifffile.imwrite(folder / "a.tif", grey, photometric="minisblack", **options)
            found["a.tif"].append((folder / "a.tif").read_bytes())
        rows = [{"image": "images/a.png", "mask": "masks/a.png", "group": "g", "split": "train", "text": "vein"}] * 3
        found["manifest.csv"] = [write_csv(folder / "m.csv", rows, rows[0]).read_bytes()]
        found["manifest.parquet"] = [write_parquet(folder / "m.parquet", rows).read_bytes()]
        save_file({"lora_A": np.ones((4, 4), np.float32)}, folder / "a.safetensors")
        found["adapter_model.safetensors"] = [(folder / "a.safetensors").read_bytes()]
    outline = rectangle_outline((2, 3, 10, 5))
    entries = [{"image": "a.png", "mask": [[outline], [outline]], "text": ["vein", "artery"]}]
    found["annotations.json"] = [
        json.dumps(entries).encode(),
        json.dumps([{"image": "a.png", "mask": [outline], "group": "P1", "width": 32, "height": 24}]).encode(),
    ]
    found["instances.json"] = [json.dumps(_coco_lists(outline)).encode()]
    found["labelme/a.json"] = [
        json.dumps(
            {"shapes": [{"label": "vein", "points": [[2, 3], [9, 3], [9, 9]], "shape_type": kind}], "imageWidth": 32}
            | {"imagePath": "a.png", "imageHeight": 24}
        ).encode()
        for kind in ("polygon", "rectangle")
    ]
    found["nnunet/dataset.json"] = [
        json.dumps({"labels": {"background": 0, "artery": 1, "both": [1, 2]}, "file_ending": ".png"}).encode()
    ]
    found["patients.csv"] = [b"name,patient\r\na.png,P1\r\nb,P2\r\n"]
    found["labels.txt"] = [b"1=artery,2=vein,#ff0000=stent"]
    found |= _written_by_us()
    found["space.yaml"] = [path.read_bytes() for path in sorted(SHIPPED_SPACES.glob("*.yaml"))]
    found["search.yaml"] = [yaml.safe_dump(_settings()).encode()]
    return found


def _coco_lists(outline: list[int]) -> dict[str, Any]:
    runs = [{"size": [24, 32], "counts": counts} for counts in ([3, 5, 760], "X2m0h0")]
    drawn = [[outline], *runs]
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 24, "width": 32}],
        "categories": [{"id": 1, "name": "vein"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": each} for each in drawn],
    }


def _dicom_files(folder: Path) -> list[bytes]:
    ramp = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    window = {"WindowCenter": 300, "WindowWidth": 200}
    for name, pixels in (("1", ramp), ("2", np.stack([ramp, ramp])), ("3", np.stack([picture(0)] * 3, axis=2))):
        write_dicom(folder / f"{name}.dcm", pixels, **window)
    return [(folder / f"{name}.dcm").read_bytes() for name in "123"]


def _written_by_us() -> dict[str, list[bytes]]:
    """What a search, an export and the feature cache leave, and the settings of models and adapters."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_pair(folder / "data", "a.png", 0)
        write_split(folder, open_dataset(folder / "data").samples)
        records = RunRecords.open(folder)
        records.trial_started("0000", 0, RECIPE, "lane 1")
        records.epoch("0000", record(1, 0.5))
        with (folder / "features").open("wb") as file:
            write(file, some_features(), torch.float32)
        (folder / TUNED_FILE).write_text(a_tuned("0" * 64).to_json())
        (folder / "adapter_config.json").write_text(
            json.dumps(_peft_config(LoraSettings(r=2), NO_ENCODER, [], (), exclude_memory=True))
        )
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a.b": "model-1.safetensors"}}')
        names = ("names.parquet", "trials.parquet", "epochs.parquet", "features", TUNED_FILE, "adapter_config.json")
        found = {name: [(folder / name).read_bytes()] for name in (*names, "model.safetensors.index.json")}
    configs = [model_folder(preset) / "config.json" for preset in preset_names()]
    return found | {"config.json": [path.read_bytes() for path in configs]}


def _settings() -> dict[str, Any]:
    space = {"fixed": {}, "space": {"lora.r": {"choice": [8, 64]}}}
    return {
        **{"name": "n", "out": "/o", "space_file": "/s.yaml", "space": space, "feature_cache": "/c", "sampler": "tpe"},
        **{"model": {"model": "tiny", "precision": "fp32"}, "data": {"source": "/d"}, "raw_high_res": False},
        **{"gpus": 0, "gpus_per_trial": 1, "lanes": 1, "cpus_per_worker": 1, "trials": 2, "epochs": 1, "seed": 0},
        **{"time_budget_s": None, "address": None, "max_disk_gib": None, "cache_limit_gib": None},
    }


def damage(content: bytes, chance: random.Random) -> bytes:
    """One to six damages: bits, bytes, extreme numbers, pieces cut, doubled or moved, tokens that mean something."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(data) + 1)
        length = min(chance.choice((1, 2, 4, 8, 64, 1024)), len(data) - at)
        match chance.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.randrange(256)
            case 2:
                size, order = chance.choice((2, 4)), chance.choice(("little", "big"))
                number = chance.choice(_EXTREMES) & ((1 << 8 * size) - 1)
                data[at : at + size] = number.to_bytes(size, order)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
            case 5:
                data[at:at] = chance.choice(_TOKENS)
            case 6:
                data = data[:at] if chance.random() < 0.3 else data
            case _:
                other = chance.randrange(len(data) + 1)
                data[at : at + length] = data[other : other + length]
    return bytes(data)


def read(folder: Path, name: str, content: bytes) -> None:
    """Opens the damaged file as a command would."""
    (folder / name).write_bytes(content)
    match Path(name).suffix:
        case ".png" | ".tif" | ".jpg" | ".bmp" | ".gif" | ".ppm" | ".gz":
            _read_both(folder / name)
        case ".dcm":
            _read_frames(folder / name)
        case _ if name == "patients.csv":
            check(open_dataset(folder / "manifest", rules=Rules(group_by=str(folder / name))))
        case _ if name == "labels.txt":
            parse_labels(content.decode("utf-8", "replace"))
        case _ if "/" in name:
            check(open_dataset(folder / Path(name).parent, rules=Rules(absent="keep")))
        case ".safetensors":
            _read_tensors(folder)
        case _ if name in _READERS:
            with contextlib.suppress(DamagedFileError):  # the cache's own; the image is encoded again
                _READERS[name](folder / name)
        case _:
            check(open_dataset(folder / name))


def _read_both(path: Path) -> None:
    loads: tuple[Callable[[Path], object], ...] = (
        *(load_image, load_mask_file, image_size),
        lambda path: load_label_mask(path, ("1",), ("0", "1", "2")),
    )
    for load in loads:
        try:
            load(path)
        except UserError:
            continue


def _read_frames(path: Path) -> None:
    loads: tuple[Callable[[Path], object], ...] = (load_image, lambda path: list(frames_of(path)))
    for load in loads:
        try:
            load(path)
        except UserError:
            continue


def _make_places(folder: Path) -> None:
    """What the damaged files belong to."""
    save_file({"a.b": np.zeros(2, dtype=np.float32)}, folder / "model-1.safetensors")
    save_pair(folder, "a.png", 0)
    save_pair(folder / "manifest", "a.png", 0)
    save(folder / "labelme" / "a.png", picture(0))
    save(folder / "nnunet" / "imagesTr" / "a_0000.png", picture(0))
    save(folder / "nnunet" / "labelsTr" / "a.png", rectangle_mask((2, 3, 10, 5)).astype(np.uint8))


def _work(good: dict[str, list[bytes]], seed: int, report: Any) -> None:
    """One process: cases `seed`, `seed` + 1, ...; says each before it starts and how it ended."""
    signal.signal(signal.SIGALRM, _too_slow)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _GIB_A_CASE * 2**30,) * 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_places(folder)
        for number in range(seed, seed + _CASES_A_PROCESS):
            kind, content = case(good, number)
            report.send((number, kind, "started", ""))
            signal.alarm(_SECONDS_A_CASE)
            try:
                read(folder, kind, content)
                outcome = ("read", "")
            except UserError as error:
                outcome = (
                    ("refused", "") if str(error).strip().endswith((".", "?")) else ("finding", f"no cure: {error}")
                )
            except BaseException as error:
                outcome = ("finding", f"{type(error).__name__}: {error}"[:300])
            signal.alarm(0)
            (folder / kind).unlink(missing_ok=True)
            report.send((number, kind, *outcome))


def case(good: dict[str, list[bytes]], number: int) -> tuple[str, bytes]:
    """The file name and the content of case `number`; the same whenever it is asked for."""
    chance = random.Random(number)
    kind = chance.choice(sorted(good))
    return kind, damage(chance.choice(good[kind]), chance)


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {_SECONDS_A_CASE} s")


def fuzz(minutes: float, first: int, kept: Path, say: Callable[[str], object] = print) -> int:
    """Runs cases until the time is over; gives back the number of findings, whose files lie in `kept`."""
    good = seeds()
    ends, number, counts, findings = time.monotonic() + 60 * minutes, first, Counter[tuple[str, str]](), 0
    while time.monotonic() < ends:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.get_context("fork").Process(target=_work, args=(good, number, theirs))
        worker.start()
        theirs.close()
        last: tuple[int, str, str, str] | None = None
        try:
            while time.monotonic() < ends or (last and last[2] == "started"):
                last = ours.recv()
                if last[2] == "started":
                    continue
                counts[last[1], last[2]] += 1
                if last[2] == "finding":
                    findings += _keep(kept, good, last, say)
            worker.terminate()
        except EOFError:  # all cases done, or the process is dead
            worker.join()
            if last and last[2] == "started":
                reason = (*last[:2], "finding", f"the process ended with {worker.exitcode}")
                counts[last[1], "finding"] += 1
                findings += _keep(kept, good, reason, say)
        worker.join()
        number = last[0] + 1 if last else number + _CASES_A_PROCESS
    for kind in sorted(good):
        outcomes = {outcome: counts[kind, outcome] for outcome in ("read", "refused", "finding")}
        say(f"{kind:26} {outcomes}")
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    say(f"{sum(counts.values())} cases, {findings} findings, largest process {peak_mib:.0f} MiB")
    return findings


def _keep(
    kept: Path, good: dict[str, list[bytes]], found: tuple[int, str, str, str], say: Callable[[str], object]
) -> int:
    number, kind, _, reason = found
    kept.mkdir(parents=True, exist_ok=True)
    (kept / f"{number}-{kind.replace('/', '-')}").write_bytes(case(good, number)[1])
    say(f"case {number}, {kind}: {reason}")
    return 1


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--first", type=int, default=0, help="Number of the first case; each number is one file.")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    sys.exit(1 if fuzz(given.minutes, given.first, given.kept) else 0)


if __name__ == "__main__":
    main()
