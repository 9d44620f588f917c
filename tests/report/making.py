"""Makes results folders as a search leaves them, through its own records, with a data set whose names are secret."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tune_sa2va.config import RECIPE, DataSettings, ModelSettings
from tune_sa2va.data import Sample
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.readers import open_dataset
from tune_sa2va.data.split_file import write_split
from tune_sa2va.evaluate.distance import hausdorff_95
from tune_sa2va.evaluate.metrics import count
from tune_sa2va.evaluate.topology import betti_error, cl_dice
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.search_space import load_space
from tune_sa2va.train.records import EpochRecord

EPOCHS = 4
MARKUP = "<img src=x onerror=alert(1)>"
NAMES = [f"ZhangSan{i}_7715{i}.png" for i in range(4)] + [f"LiWei{i}&amp;_8820{i}.png" for i in range(6)]
SECRETS = ("ZhangSan", "LiWei", "7715", "8820")
"""Parts of the names that no report may contain."""


def record(epoch: int, val_dice: float, seconds: float = 10.0) -> dict[str, Any]:
    plain = {field.name: 0.25 for field in dataclasses.fields(EpochRecord)} | {
        "warning": "",
        "micro_batch_size": 1,
        "seated": 1.0,
        "folds": 1,
        "folds_left": 0,
    }
    return dataclasses.asdict(EpochRecord(**plain | {"epoch": epoch, "val_dice": val_dice, "seconds": seconds}))


def settings(folder: Path, data: Path, **changed: Any) -> SearchSettings:
    space = load_space("lora")
    made = SearchSettings.model_validate(
        {
            "name": folder.name, "out": folder.parent, "model": ModelSettings(model="tiny", precision="fp32"),
            "data": DataSettings(source=str(data)), "space_file": space.source, "space": space.to_dict(),
            "gpus": 0, "gpus_per_trial": 1, "lanes": 2, "cpus_per_worker": 1, "trials": 16, "epochs": EPOCHS,
            "time_budget_s": None, "sampler": "tpe", "seed": 0, "max_disk_gib": None, "address": None,
            "feature_cache": folder / "cache", "raw_high_res": False,
        } | changed
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    made.save(folder)
    return made


def data_set(root: Path) -> tuple[Sample, ...]:
    """Ten images of ten patients; the last six are the test part."""
    random = np.random.default_rng(0)
    for name in NAMES:
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 255, (40, 48), dtype=np.uint8)
        Image.fromarray(picture).save(root / "images" / name)
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[10 : 14 + len(name) % 4, 5:40] = 255
        Image.fromarray(mask).save(root / "masks" / name)
    samples = open_dataset(str(root)).samples
    return tuple(dataclasses.replace(sample, split="test" if "LiWei" in sample.name else "train") for sample in samples)


def configs(number: int) -> list[Any]:
    """The recipe, then points of the space."""
    random = np.random.default_rng(1)
    drawn = [
        RECIPE.replace(
            {"train.epochs": EPOCHS, "optimizer.lr": float(10 ** random.uniform(-5, -3)),
             "lora.r": int(random.choice([8, 16, 32, 64, 128])),
             "lora.alpha_over_r": float(random.choice([0.5, 1, 2, 4])),
             "loss.focal": float(10 ** random.uniform(-1.3, 0.69)), "loss.bce": float(10 ** random.uniform(-1.3, 0.69)),
             "loss.focal_alpha": float(random.uniform(0.5, 0.95)), "loss.focal_gamma": float(random.uniform(0, 4))}
        )
        for _ in range(number - 1)
    ]  # fmt: skip
    return [RECIPE.replace({"train.epochs": EPOCHS}), *drawn]


def whole_run(folder: Path, data: Path) -> Path:
    """A complete results folder: 14 trials, most stopped after an epoch, one failed with a name and markup in its
    reason."""
    settings(folder, data)
    samples = data_set(data)
    write_split(folder, samples)
    records = RunRecords.open(folder)
    for number, config in enumerate(configs(14)):
        trial = f"t{number:02d}"
        records.trial_started(trial, number, config, f"lane {number % 2 + 1}")
        if number == 5:
            reason = f"{data}/images/{NAMES[5]}: cannot be read {MARKUP}"
            records.trial_ended(trial, TrialState.FAILED, reason)
            continue
        whole = number in (0, 3)
        for epoch in range(1, EPOCHS + 1 if whole else 2):
            records.epoch(trial, record(epoch, 0.5 + 0.02 * epoch + 0.005 * number))
        records.trial_ended(trial, TrialState.COMPLETE if whole else TrialState.STOPPED)
    export(folder, "t03", EPOCHS)
    score(folder, samples)
    (folder / "environment.json").write_text(json.dumps({"versions": {"python": "3.11"}, "note": MARKUP}))
    return folder


def export(folder: Path, trial: str, epoch: int) -> None:
    (folder / "best_adapter").mkdir()
    (folder / "best_adapter" / "tune_sa2va.json").write_text(json.dumps({"trial": trial, "epoch": epoch}))


def score(folder: Path, samples: tuple[Sample, ...]) -> None:
    """Scores of the test part: the base finds nothing, the recipe half the vessel, the winner all but a column."""
    groups, rows = group_codes(samples), []
    for label, width in (("untuned base", 0), ("recipe", 20), ("winner", 39)):
        (folder / "test_masks" / label).mkdir(parents=True)
        for sample in (s for s in samples if s.split == "test"):
            truth = np.asarray(Image.open(str(sample.mask))) > 0
            mask = truth & (np.arange(48) < width)
            Image.fromarray(mask.astype(np.uint8) * 255).save(
                folder / "test_masks" / label / f"{image_code(sample)}.png"
            )
            rows.append(
                {"row": label, "checkpoint": label, "image_code": image_code(sample),
                 "group_code": groups[sample.group], "text": sample.text, "threshold": 0.5}
                | dataclasses.asdict(count(mask, truth))
                | {"cl_dice": cl_dice(mask, truth), "hd95_px": hausdorff_95(mask, truth),
                   "betti_error": betti_error(mask, truth)}
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "test_scores.parquet")
