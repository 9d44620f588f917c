"""Keeps the images of a small data set on the device, for many short trials in parallel on one card.

A search streams features from disk to the GPU while a large model computes its steps. Sixteen processes that train the
tiny model would have to move 20 MB for each step of a few milliseconds. So features are copied once per process here;
batches, shapes and steps are those of a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tune_sa2va.cache.place import features_folder
from tune_sa2va.config import Augment, DataSettings, LaneSettings, ModelSettings, Precision, TrialConfig
from tune_sa2va.data import Sample
from tune_sa2va.evaluate.batch import Batch, Collator, Shape
from tune_sa2va.evaluate.examples import Examples, PixelExamples
from tune_sa2va.evaluate.predict import Example, to_device
from tune_sa2va.model.encoding import release_encoders
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.feed import Fed, Feed
from tune_sa2va.train.workbench import open_examples, open_model

_FEATURES = ("image_tokens", "embed", "high_res_1", "high_res_0")


@dataclass(frozen=True, slots=True)
class ResidentImages:
    """Images with their features on the device, and their questions and truths on the CPU.

    source: the images that these were loaded from; places: which of them these are.
    """

    examples: tuple[Example, ...]
    texts: tuple[str, ...]
    source: Examples
    places: tuple[int, ...]

    @classmethod
    def load(cls, examples: Examples, device: torch.device) -> "ResidentImages":
        """Copies the features of all `examples` to the device."""
        whole = (examples.on_cpu(index) for index in range(len(examples)))
        resident = (replace(example, features=to_device(example, device).features) for example in whole)
        return cls(tuple(resident), examples.texts, examples, tuple(range(len(examples))))

    def some(self, numbers: Sequence[int]) -> "ResidentImages":
        """The images with these numbers; nothing is copied."""
        return ResidentImages(
            tuple(self.examples[number] for number in numbers), tuple(self.texts[number] for number in numbers),
            self.source, tuple(self.places[number] for number in numbers),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.examples)

    def on_cpu(self, index: int) -> Example:
        """The image; its features stay on the device."""
        return self.examples[index]

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "ResidentImages":
        """The same images in every epoch; augmentation is not supported."""
        assert augment == "none", "a recording shows images as they are"
        return self

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> PixelExamples:
        """The images with the inputs of those encoders, which are small enough to be streamed."""
        return self.source.only(self.places).with_pixels(sam2=sam2, vision=vision, strength=strength)


class ResidentEngine(Engine):
    """An engine for `ResidentImages`, and for their pixels."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept: dict[tuple[Shape, tuple[int, ...]], Batch] = {}

    def feed(self, *, with_answer: bool) -> Feed:
        """A feed of batches whose features are already on the device."""
        if self._copies is None:
            return super().feed(with_answer=with_answer)
        return _ResidentFeed(self.collator, self.device, self._copies, self._kept, with_answer=with_answer)


class _ResidentFeed(Feed):
    """kept: batches on the device without features, by shape and the examples' identities."""

    def __init__(
        self,
        collator: Collator,
        device: torch.device,
        stream: torch.cuda.Stream,
        kept: dict[tuple[Shape, tuple[int, ...]], Batch],
        *,
        with_answer: bool,
    ) -> None:
        super().__init__(collator, device, stream, with_answer=with_answer)
        self._kept = kept

    def _to_device(self, indices: list[int], shape: Shape, examples: Sequence[Example]) -> Fed:
        if examples[0].pixels is not None:
            return super()._to_device(indices, shape, examples)
        key = (shape, tuple(id(example) for example in examples))
        with torch.cuda.stream(self._stream):
            if key not in self._kept:
                batch = self._collator.collate(examples, shape)
                nothing = dict.fromkeys(_FEATURES, batch.embed.new_zeros(0))
                self._kept[key] = Batch(*(tensor.to(self._device) for tensor in batch._replace(**nothing)))
            features = {
                name: _together([getattr(example.features, name) for example in examples]) for name in _FEATURES
            }
            return Fed(indices, shape, self._kept[key]._replace(**features))


def _together(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


def open_resident(
    data: str, model: str, samples: Sequence[Sample], configs: Sequence[TrialConfig]
) -> tuple[ResidentEngine, ResidentImages]:
    """The base model, laid out for all of `configs`, and the images with features; encodes what the cache lacks."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    settings = LaneSettings(
        model=ModelSettings(model=model, precision="bf16" if on_gpu else "fp32"),
        data=DataSettings(source=data),
        feature_cache=features_folder(),
        raw_high_res=any("mask_decoder" in config.train.full_modules for config in configs),
        num_workers=1,
        use_gpu=on_gpu,
        runs_sam2=any(config.runs_sam2 for config in configs),
        runs_vision=any(config.runs_vision for config in configs),
    )
    engine = resident_engine(model, configs, device, precision=settings.model.precision, images=True)
    images = ResidentImages.load(open_examples(engine.model, settings, samples, device), device)
    release_encoders(engine.model, sam2=not settings.runs_sam2, vision=not settings.runs_vision)
    return engine, images


def resident_engine(
    model: str, configs: Sequence[TrialConfig], device: torch.device, *, precision: Precision, images: bool = False
) -> ResidentEngine:
    """An engine with its own base, laid out for all of `configs`. images: keep the encoders, to encode images."""
    base = open_model(ModelSettings(model=model, precision=precision), device)
    if not images:
        release_encoders(base)
    rank = max(config.lora.r for config in configs) if device.type == "cuda" else None
    return ResidentEngine(base, max_rank=rank, any_dropout=any(config.lora.dropout > 0 for config in configs))
