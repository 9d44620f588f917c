"""How fast a lane trains with its present number of seats: a few steps of as many trials, which leave nothing behind.

They are whole epochs of few images, by the code of every epoch, so what is measured is what a search does.
"""

from pathlib import Path

from tune_sa2va.config import LaneSettings, TrialConfig
from tune_sa2va.data import image_size
from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.examples import Examples, SomeExamples
from tune_sa2va.model.locate import model_folder
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.memory import estimate_memory
from tune_sa2va.train.records import EpochRecord, SeatPace
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

STEPS = 20
"""Timed steps, and steps of each epoch before them."""

_EPOCHS_BEFORE = 2
"""The first meets every shape of image: kernels are compiled and the shapes that come again are captured. The second
captures the others (`train.graphs`)."""

_VAL_IMAGES = 8
"""A validation batch on a GPU, if a trial is alone."""


def measure_pace(bench: Workbench, settings: LaneSettings, config: TrialConfig) -> SeatPace:
    """The pace of trials of `config` in all seats of the engine. Nobody may sit there. settings: of the lane.

    Each has its own order of images, as trials in different epochs have.

    Raises:
        TrialFailure: a loss or gradient is not finite, or the weights do not change.
        torch.OutOfMemoryError: the device has too little memory.
    """
    engine, part = bench.engine, bench.parts[0]
    in_step = config.train.micro_batch_size * config.train.accumulation_steps * bench.world_size
    train, val = _spread(part.train, STEPS * in_step), _spread(part.val, _VAL_IMAGES)
    trials: list[Trial] = []
    try:
        for seed in range(engine.seats):
            changed = config.replace({"train.seed": seed, "train.epochs": _EPOCHS_BEFORE + 1})
            trials.append(Trial(engine, train, val, changed, rank=bench.rank, world_size=bench.world_size))
        for _ in range(_EPOCHS_BEFORE):
            _epoch(trials)
        records = _epoch(trials)
    finally:
        for trial in trials:
            trial.close()
    return SeatPace(
        seats=engine.seats,
        it_per_s=sum(record.it_per_s for record in records),
        peak_gib=records[0].peak_gib,
        estimate_gib=_estimated_gib(settings, config, train, engine.seats) if settings.use_gpu else 0.0,
    )


def _spread(images: Examples | SomeExamples, number: int) -> SomeExamples:
    """So many of the images, spread evenly; some of them several times if there are fewer."""
    return images.only([place * len(images) // number for place in range(number)])


def _epoch(trials: list[Trial]) -> list[EpochRecord]:
    records = []
    for outcome in run_epoch(trials):
        if isinstance(outcome, TrialFailure):
            raise outcome
        records.append(outcome)
    return records


def _estimated_gib(settings: LaneSettings, config: TrialConfig, images: SomeExamples, seats: int) -> float:
    """What the allocator reserves by the estimate, for the largest of the images."""
    files: set[Path] = {sample.image for sample in images.samples}
    height, width = max((image_size(file) for file in files), key=lambda size: size[0] * size[1])
    laid_out = config.replace({"encoder.r": settings.max_encoder_rank or config.encoder.r})
    return estimate_memory(
        model_folder(settings.model.model), laid_out, precision=settings.model.precision, on_gpu=settings.use_gpu,
        width_px=width, height_px=height, largest_r=settings.max_rank, any_dropout=settings.any_dropout,
        checkpointed=settings.checkpointed, fp8_copies=settings.model.fp8_copies, seats=seats,
    ).step_gib  # fmt: skip
