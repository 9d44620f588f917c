"""Images of one part of a data set as `Example`s: features from the cache, truth and tokens kept once made."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tune_sa2va.cache.key import image_hash
from tune_sa2va.cache.store import FeatureCache
from tune_sa2va.config import Augment, DataSettings
from tune_sa2va.data import Sample, load_image, load_truth
from tune_sa2va.data.variants import Variant, laid_out, variant_in
from tune_sa2va.evaluate.predict import Example, to_device
from tune_sa2va.model.prompt import Prompter, PromptTokens


class Examples:
    """Images of one part as `Example`s: truth and tokens kept, features read when asked for."""

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
        self._prompts: dict[tuple[str, int], PromptTokens] = {}

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def texts(self) -> tuple[str, ...]:
        """What each image is asked for."""
        return tuple(sample.text for sample in self.samples)

    def on_cpu(self, index: int, variant: Variant = Variant.AS_IS) -> Example:
        """An image with its question, on the CPU; image and truth laid out as `variant` says."""
        sample = self.samples[index]
        features = self._cache.load(sample, variant)
        truth = self._truth(index)
        if variant is not Variant.AS_IS:
            truth = torch.from_numpy(laid_out(truth.numpy(), variant))
        return Example(features, self._tokens(sample, len(features.image_tokens)), truth)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "EpochExamples":
        """The images as one epoch shows them: which way each lies follows from seed, epoch and the image's content."""
        return self.only(range(len(self))).in_epoch(epoch, seed=seed, augment=augment)

    def only(self, places: Sequence[int]) -> "SomeExamples":
        """The images at these places, in this order, as a part of their own."""
        return SomeExamples(self, tuple(places))

    def __getitem__(self, index: int) -> Example:
        return to_device(self.on_cpu(index), self._device)

    def _truth(self, index: int) -> torch.Tensor:
        if index not in self._truths:
            sample = self.samples[index]
            height, width, _ = load_image(sample.image).shape
            self._truths[index] = torch.from_numpy(load_truth(sample, height, width))
        return self._truths[index]

    def _tokens(self, sample: Sample, num_image_tokens: int) -> PromptTokens:
        question = self._data.question.format(text=sample.text)
        key = (question, num_image_tokens)
        if key not in self._prompts:
            self._prompts[key] = self._prompter.build(
                question=question, answer=self._data.answer, num_image_tokens=num_image_tokens
            )
        return self._prompts[key]


@dataclass(frozen=True, slots=True)
class SomeExamples:
    """Some of the images of `examples`, which keeps truth and tokens for all: a fold, or all but a fold."""

    examples: Examples
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images that are in it."""
        return tuple(self.examples.samples[place] for place in self.places)

    @property
    def texts(self) -> tuple[str, ...]:
        """What each image is asked for."""
        return tuple(sample.text for sample in self.samples)

    def on_cpu(self, index: int, variant: Variant = Variant.AS_IS) -> Example:
        """As `Examples.on_cpu`, by the place in this part."""
        return self.examples.on_cpu(self.places[index], variant)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "EpochExamples":
        """As `Examples.in_epoch`: an image lies the same way in every part that it is in."""
        shown = (variant_in(augment, seed=seed, epoch=epoch, image=image_hash(sample.image)) for sample in self.samples)
        return EpochExamples(self, tuple(shown))


@dataclass(frozen=True, slots=True)
class EpochExamples:
    """Images of one part, each as its variant of the epoch."""

    part: SomeExamples
    variants: tuple[Variant, ...]

    def __len__(self) -> int:
        return len(self.variants)

    def on_cpu(self, index: int) -> Example:
        """An image with its question, on the CPU."""
        return self.part.on_cpu(index, self.variants[index])
