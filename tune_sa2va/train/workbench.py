"""What one worker keeps between trials: the base model, and the features of its images with their questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.cache.fill import fill
from tune_sa2va.cache.store import FeatureCache, pictures
from tune_sa2va.config import Augment, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.data import Sample
from tune_sa2va.data.parts import num_folds, searched_of
from tune_sa2va.data.split_file import Names, find_samples
from tune_sa2va.data.variants import variants_of
from tune_sa2va.errors import DeviceError, UserError
from tune_sa2va.evaluate.examples import Examples, SomeExamples
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.encoding import release_encoders
from tune_sa2va.model.fp8 import without_fp8
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.folded_trial import FoldedTrial, Part
from tune_sa2va.train.trial import Trial


@dataclass(frozen=True, slots=True)
class Workbench:
    """Opened once per worker; makes as many trials at a time as its engine has seats."""

    model: Sa2VA
    engine: Engine
    parts: tuple[Part, ...]
    """The images of each training of a trial: one part with one split, one part per fold with folds."""
    augment: Augment
    rank: int
    world_size: int
    runs_sam2: bool
    runs_vision: bool

    @property
    def train(self) -> Examples | SomeExamples:
        """The training images of the first part, which with one split is the only one."""
        return self.parts[0].train

    @property
    def val(self) -> Examples | SomeExamples:
        """The validation images of the first part."""
        return self.parts[0].val

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images of all parts; with folds, some of them several times."""
        return tuple(sample for part in self.parts for images in (part.train, part.val) for sample in images.samples)

    @classmethod
    def open(
        cls, settings: LaneSettings, names: Names, *, rank: int, world_size: int, on_all: bool = False
    ) -> "Workbench":
        """Loads the base model, finds the images, adds missing features to the cache and releases unused encoders.

        rank, world_size: this worker's number in its lane, from 0, and the number of workers.
        on_all: trials train on all images outside the test part and are scored on the same images, so their scores
            mean nothing.

        Raises:
            UserError: the model, the data or the split cannot be used.
        """
        device = torch.device("cuda", torch.cuda.current_device()) if settings.use_gpu else torch.device("cpu")
        model = open_model(settings.model, device)
        samples = find_samples(names, settings.data)
        parts = (_open_all if on_all else _open_parts)(model, settings, samples, device)
        release_encoders(model, sam2=not settings.runs_sam2, vision=not settings.runs_vision)
        engine = Engine(
            model, max_rank=settings.max_rank, any_dropout=settings.any_dropout, world_size=world_size,
            max_encoder_rank=settings.max_encoder_rank, seats=settings.seats,
        )  # fmt: skip
        engine.checkpointed = settings.checkpointed
        runs = (settings.runs_sam2, settings.runs_vision)
        return cls(model, engine, parts, settings.augment, rank, world_size, *runs)

    def trial(self, config: TrialConfig, resume_from: Path | None = None) -> Trial | FoldedTrial:
        """A new trial, or one that continues from the checkpoint in `resume_from`. The engine must have a seat for it.

        Raises:
            UserError: the lane was opened without what the trial needs, the configuration does not fit the model, or
                the checkpoint cannot be used.
        """
        if not set(variants_of(config.data.augment)) <= set(variants_of(self.augment)):
            raise UserError(
                f"data.augment is {config.data.augment!r}, but this lane cached the variants of {self.augment!r}. "
                "Name every value that a trial may have in the search space."
            )
        if (config.runs_sam2 and not self.runs_sam2) or (config.runs_vision and not self.runs_vision):
            raise UserError(
                "The trial changes an image encoder, but this lane released it once the images were encoded. Name "
                "every value of encoder.sam2, encoder.vision and train.full_modules that a trial may have in the "
                "search space."
            )
        if len(self.parts) > 1:
            return FoldedTrial(
                self.engine, self.parts, config, resume_from=resume_from, rank=self.rank, world_size=self.world_size
            )
        (part,) = self.parts
        return Trial(
            self.engine, part.train, part.val, config,
            resume_from=resume_from, rank=self.rank, world_size=self.world_size,
        )  # fmt: skip


def open_model(settings: ModelSettings, device: torch.device) -> Sa2VA:
    """The base model, frozen, on `device` in the settings' precision.

    With fp8, whatever is not quantised is in bf16 on a GPU. On a CPU, where only tests and small benchmarks use fp8, it
    is in fp32, as the rest of the program expects there.

    Raises:
        DeviceError: the GPU has no fp8.
        CheckpointError: the model cannot be loaded or quantised.
    """
    folder, on_gpu = model_folder(settings.model), device.type == "cuda"
    if settings.precision != "fp8":
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        return load_model(folder, device=device, dtype=dtype)
    if on_gpu:
        card = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
        if problem := without_fp8(*card):
            raise DeviceError(problem)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    return load_model(folder, device=device, dtype=dtype, fp8_copies=settings.fp8_copies)


def _open_parts(
    model: Sa2VA, settings: LaneSettings, samples: Sequence[Sample], device: torch.device
) -> tuple[Part, ...]:
    """The images of each training of a trial: of the one split, or of each fold."""
    folds = num_folds(samples)
    if folds == 1:
        of_part = {part: [sample for sample in samples if sample.split == part] for part in ("train", "val")}
        train = open_examples(model, settings, of_part["train"], device, augment=settings.augment)
        val = open_examples(model, settings, of_part["val"], device)
        return (Part(train=train, val=val, places=tuple(range(len(val)))),)
    searched = open_examples(model, settings, searched_of(samples), device, augment=settings.augment)
    parts = []
    for fold in range(folds):
        places = [place for place, sample in enumerate(searched.samples) if sample.fold == fold]
        others = [place for place, sample in enumerate(searched.samples) if sample.fold != fold]
        parts.append(Part(train=searched.only(others), val=searched.only(places), places=tuple(places)))
    return tuple(parts)


def _open_all(
    model: Sa2VA, settings: LaneSettings, samples: Sequence[Sample], device: torch.device
) -> tuple[Part, ...]:
    searched = open_examples(model, settings, searched_of(samples), device, augment=settings.augment)
    return (Part(train=searched, val=searched, places=tuple(range(len(searched)))),)


def open_examples(
    model: Sa2VA,
    settings: LaneSettings,
    samples: Sequence[Sample],
    device: torch.device,
    *,
    augment: Augment = "none",
) -> Examples:
    """The samples with their features in the cache, in the variants of `augment`; encodes what is missing."""
    folder = model_folder(settings.model.model)
    cache = FeatureCache(settings.feature_cache, folder, model.no_mem_embed.dtype, raw_high_res=settings.raw_high_res)
    fill(cache, model, pictures(samples, augment), limit_gib=settings.cache_limit_gib)
    return Examples(samples, cache, Prompter(folder), settings.data, device)
