"""The speed of this machine, measured by twenty steps of the search's first trial on a few of its images."""

import gc
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tune_sa2va.config import LaneSettings
from tune_sa2va.data import Sample
from tune_sa2va.data.sample import Split
from tune_sa2va.data.split_file import Names, read_names, write_split
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.train.workbench import Workbench
from tune_sa2va.words import count

STEPS = 20
_TRAIN_IMAGES, _VAL_IMAGES = 10, 5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one worker is.

    load_s: loading the base model. encode_s, train_s, val_s: per image. start_s: starting a trial in an open lane.
    peak_gib: GPU memory in training, 0 on a CPU. source: where the numbers come from, in words.
    """

    load_s: float
    encode_s: float
    start_s: float
    train_s: float
    val_s: float
    peak_gib: float
    source: str


def probe(settings: SearchSettings, samples: Sequence[Sample], sizes_px: Sequence[tuple[int, int]]) -> Pace:
    """Measures the pace by running the recipe on a few images of all sizes. Keeps no file.

    samples: with their parts. sizes_px: (height, width) of each.

    Raises:
        UserError: the model or an image cannot be used.
        TrialFailure: the recipe fails, as it would in the search.
    """
    few = _few(samples, sizes_px)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-plan-") as name:
        folder = Path(name)
        write_split(folder, few)
        lane = settings.lane.model_copy(update={"feature_cache": folder / "features"})
        torch.set_num_threads(lane.cpus_per_worker)  # as a lane's worker does
        try:
            return _run(settings, lane, read_names(folder))
        finally:
            torch.set_num_threads(threads)
            gc.collect()
            if lane.use_gpu:
                torch.cuda.empty_cache()


def _run(settings: SearchSettings, lane: LaneSettings, names: Names) -> Pace:
    opened = []
    for _ in range(2):  # the second time the features exist, so the difference is the time of the encoders
        bench, seconds = _timed_open(lane, names)
        opened.append(seconds)
        if len(opened) == 1:
            del bench
            gc.collect()
    images = len(bench.train) + len(bench.val)
    config = settings.trial_config(settings.search_space.recipe_point())
    epochs = 1 + -(-STEPS // len(bench.train))
    started = time.monotonic()
    trial = bench.trial(config.replace({"train.epochs": epochs}))
    start_s = time.monotonic() - started
    try:
        finished = [record for record in trial.epochs() if record is not None]
        records = finished[1:]  # the first epoch is a warm-up, in which kernels are chosen and maybe compiled
    finally:
        trial.close()
    return Pace(
        load_s=opened[1],
        encode_s=max(0.0, opened[0] - opened[1]) / images,
        start_s=start_s,
        train_s=sum(record.train_seconds for record in records) / (len(records) * len(bench.train)),
        val_s=sum(record.val_seconds for record in records) / (len(records) * len(bench.val)),
        peak_gib=max(record.peak_gib for record in records),
        source=f"measured here: {len(records) * len(bench.train)} steps on {count(len(bench.train), 'image')}"
        + ("" if lane.use_gpu else f", {lane.cpus_per_worker} of {os.cpu_count()} cores"),
    )


def _timed_open(lane: LaneSettings, names: Names) -> tuple[Workbench, float]:
    started = time.monotonic()
    bench = Workbench.open(lane, names, rank=0, world_size=1)
    return bench, time.monotonic() - started


def _few(samples: Sequence[Sample], sizes_px: Sequence[tuple[int, int]]) -> list[Sample]:
    """A few train and val images, evenly spread from the smallest to the largest.

    With folds any image outside the test part can be either; no image is both.
    """
    by_size = [sample for _, sample in sorted(zip(sizes_px, samples, strict=True), key=lambda pair: pair[0])]
    chosen: list[Sample] = []
    parts: tuple[tuple[Split, int], ...] = (("train", _TRAIN_IMAGES), ("val", _VAL_IMAGES))
    for part, wanted in parts:
        taken = {(sample.name, sample.text) for sample in chosen}
        mine = [sample for sample in by_size if sample.split == part or sample.fold is not None]
        mine = [sample for sample in mine if (sample.name, sample.text) not in taken]
        count = min(wanted, len(mine))
        spread = [mine[(2 * number + 1) * len(mine) // (2 * count)] for number in range(count)]
        chosen += [replace(sample, split=part, fold=None) for sample in spread]
    return chosen
