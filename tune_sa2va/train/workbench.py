"""What one worker keeps between trials: the base model, the features of its images, the questions about them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.config import DataSettings, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.data import Sample, load_image, load_truth
from tune_sa2va.data.split_file import read_split
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.checkpoint import load_model, model_folder
from tune_sa2va.model.features import FeatureCache, base_id
from tune_sa2va.model.prompt import Prompter, PromptTokens
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.trial import Trial


class Examples:
    """Images of one part as `Example`s on the device: truth and tokens kept, features read when asked for."""

    def __init__(
        self,
        samples: Sequence[Sample],
        cache: FeatureCache,
        prompter: Prompter,
        data: DataSettings,
        device: torch.device,
    ) -> None:
        self.samples = tuple(samples)
        self._cache, self._prompter, self._data, self._device = cache, prompter, data, device
        self._truths: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example:
        sample = self.samples[index]
        features = self._cache.load(sample, self._device)
        return Example(features, self._tokens(sample, len(features.image_tokens)), self._truth(index))

    def _truth(self, index: int) -> torch.Tensor:
        if index not in self._truths:
            sample = self.samples[index]
            height, width, _ = load_image(sample.image).shape
            self._truths[index] = torch.from_numpy(load_truth(sample, height, width)).to(self._device)
        return self._truths[index]

    def _tokens(self, sample: Sample, num_image_tokens: int) -> PromptTokens:
        tokens = self._prompter.build(
            question=self._data.question.format(text=sample.text),
            answer=self._data.answer,
            num_image_tokens=num_image_tokens,
        )
        return PromptTokens(
            input_ids=tokens.input_ids.to(self._device), labels=tokens.labels.to(self._device),
            image_start=tokens.image_start, seg_position=tokens.seg_position, answer_start=tokens.answer_start,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workbench:
    """Opened once a worker; gives out one trial at a time."""

    model: Sa2VA
    train: Examples
    val: Examples
    rank: int
    world_size: int

    @classmethod
    def open(cls, settings: LaneSettings, *, rank: int, world_size: int) -> "Workbench":
        """Load the base model, read the split, fill the feature cache where it lacks something.

        Raises:
            UserError: the model, the data or the split file cannot be used.
        """
        device = torch.device("cuda", torch.cuda.current_device()) if settings.use_gpu else torch.device("cpu")
        model = open_model(settings.model, device)
        samples = read_split(settings.split_folder, settings.data)
        parts = {
            part: open_examples(
                model, settings, [s for s in samples if s.split == part], device, start=time.monotonic_ns() % 997
            )
            for part in ("train", "val")
        }
        return cls(model, parts["train"], parts["val"], rank, world_size)

    def trial(self, config: TrialConfig, resume_from: Path | None = None) -> Trial:
        """A new trial, or one that goes on from its checkpoint. Close it before the next."""
        return Trial(
            self.model, self.train, self.val, config,
            resume_from=resume_from, rank=self.rank, world_size=self.world_size,
        )  # fmt: skip


def open_model(settings: ModelSettings, device: torch.device) -> Sa2VA:
    """The base model, frozen, on `device` in the settings' precision."""
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    return load_model(model_folder(settings.model), device=device, dtype=dtype)


def open_examples(
    model: Sa2VA, settings: LaneSettings, samples: Sequence[Sample], device: torch.device, *, start: int = 0
) -> Examples:
    """The samples with their features in the cache; encodes what is missing, beginning at number `start`."""
    folder = model_folder(settings.model.model)
    cache = FeatureCache(
        settings.feature_cache, base_id(folder), model.no_mem_embed.dtype, raw_high_res=settings.raw_high_res
    )
    cache.fill(model, samples, start=start)
    return Examples(samples, cache, Prompter(folder), settings.data, device)
