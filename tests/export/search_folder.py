"""Makes a results folder as a search leaves it, by the real training loop but without Ray and Optuna."""

import dataclasses
from pathlib import Path

from tests.report import making
from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.data import fingerprint
from tune_sa2va.data.parts import cut_into_folds
from tune_sa2va.data.split_file import read_names, read_split, write_split
from tune_sa2va.model.locate import model_folder
from tune_sa2va.results.environment import write_environment
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.workbench import Workbench

CONFIGS: dict[str, TrialConfig] = {
    "aa": RECIPE.replace({"train.epochs": 1, "lora.r": 4, "optimizer.lr": 2e-3}),
    "bb": RECIPE.replace(
        {"train.epochs": 1, "lora.r": 8, "optimizer.lr": 5e-4, "train.full_modules": ["text_hidden_fcs"]}
    ),
    "cc": RECIPE.replace({"train.epochs": 1, "lora.r": 4, "optimizer.lr": 2e-3, "encoder.sam2": "all"}),
}


def make_search(folder: Path, *, trials: tuple[str, ...] = ("aa", "bb"), images: int = 8, folds: int = 1) -> Path:
    """Makes trials of the tiny preset, one epoch each, on a few procedural images."""
    runs_sam2 = any(CONFIGS[name].runs_sam2 for name in trials)
    settings = lane_settings(folder, images=images).model_copy(update={"runs_sam2": runs_sam2})
    write_split(folder, cut_into_folds(read_split(folder, settings.data), folds, seed=0))
    cached = {"feature_cache": settings.feature_cache, "raw_high_res": settings.raw_high_res}
    made = making.settings(folder, Path(settings.data.source), **cached)
    made.model_copy(update={"data": settings.data, "folds": folds}).save(folder)
    samples = read_split(folder, settings.data)
    write_environment(
        folder,
        model=settings.model.model,
        model_folder=model_folder(settings.model.model),
        data_fingerprint=fingerprint(samples),
    )
    bench = Workbench.open(settings, read_names(folder), rank=0, world_size=1)
    records = RunRecords.open(folder)
    for number, name in enumerate(trials):
        config = CONFIGS[name]
        trial = bench.trial(config)
        records.trial_started(name, number, config, "lane 1")
        for record in filter(None, trial.epochs()):
            records.epoch(name, {f.name: getattr(record, f.name) for f in dataclasses.fields(EpochRecord)})
        records.trial_ended(name, TrialState.COMPLETE)
        trial.save(folder / "ray" / "checkpoints" / name / "checkpoint_0001")
        trial.close()
    return folder
