"""Images of one part of a data set as `Example`s: features from the cache, truth and tokens kept once made.

Where a trial changes an encoder, features in the cache are not its own: training gets pixels besides
(`Examples.with_pixels`), and scoring has the model encode each image (`Examples.for_members`).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tune_sa2va.cache.key import image_hash
from tune_sa2va.cache.store import FeatureCache
from tune_sa2va.config import Augment, DataSettings
from tune_sa2va.data import Sample, image_size, load_image, load_truth
from tune_sa2va.data.variants import Variant, laid_out, variant_in
from tune_sa2va.data.views import view_in
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.predict import Example, to_device
from tune_sa2va.model.encoding import encode
from tune_sa2va.model.preprocess import Pixels, pixels_of
from tune_sa2va.model.prompt import Prompter, PromptTokens
from tune_sa2va.model.sa2va import Sa2VA


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
        self._encoder: Sa2VA | None = None
        self._pixels: dict[tuple[int, bool, bool], Pixels] = {}
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
        truth = self.truth(index)
        if variant is not Variant.AS_IS:
            truth = torch.from_numpy(laid_out(truth.numpy(), variant))
        return Example(features, self._tokens(sample, len(features.image_tokens)), truth)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "EpochExamples":
        """The images as one epoch shows them: which way each lies follows from seed, epoch and the image's content."""
        return self.only(range(len(self))).in_epoch(epoch, seed=seed, augment=augment)

    def only(self, places: Sequence[int]) -> "SomeExamples":
        """The images at these places, in this order, as a part of their own."""
        return SomeExamples(self, tuple(places))

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "PixelExamples":
        """The images with what those encoders take. strength: see `data.views`."""
        return PixelExamples(self, sam2, vision, strength)

    def for_members(self, model: Sa2VA, members: Members) -> "Examples":
        """These, or where `members`, attached to `model`, change an encoder, the same images with the features that
        the model's encoders give at the time: nothing from the cache."""
        if not members.changes_encoders:
            return self
        changed = copy.copy(self)
        changed._encoder = model
        return changed

    def __getitem__(self, index: int) -> Example:
        if self._encoder is None:
            return to_device(self.on_cpu(index), self._device)
        image = load_image(self.samples[index].image)
        features = encode(self._encoder, image, raw_high_res=True)
        tokens = self._tokens(self.samples[index], len(features.image_tokens))
        return to_device(Example(features, tokens, self.truth(index)), self._device)

    def pixels(self, index: int, *, sam2: bool, vision: bool) -> Pixels:
        """What those encoders take of an image; decoded once and kept."""
        key = (index, sam2, vision)
        if key not in self._pixels:
            image = load_image(self.samples[index].image)
            self._pixels[key] = pixels_of(image, self._cache.dims, sam2=sam2, vision=vision)
        return self._pixels[key]

    def truth(self, index: int) -> torch.Tensor:
        """The vessels of an image, on the CPU."""
        if index not in self._truths:
            sample = self.samples[index]
            height, width = image_size(sample.image)
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

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "PixelExamples":
        """As `Examples.with_pixels`."""
        return PixelExamples(self, sam2, vision, strength)

    def pixels(self, index: int, *, sam2: bool, vision: bool) -> Pixels:
        """As `Examples.pixels`, by the place in this part."""
        return self.examples.pixels(self.places[index], sam2=sam2, vision=vision)

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


@dataclass(frozen=True, slots=True)
class PixelExamples:
    """The images of one part with the pixels for the encoders that run in the step.

    drawn: (seed, epoch) of the views, None to show images as they are.
    """

    examples: Examples | SomeExamples
    sam2: bool
    vision: bool
    strength: float
    drawn: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "PixelExamples":
        """The images as one epoch shows them."""
        assert augment == "none", "ways kept in the cache are for encoders that do not change"
        return replace(self, drawn=(seed, epoch)) if self.strength else self

    def on_cpu(self, index: int) -> Example:
        """An image with its question and pixels, on the CPU."""
        example = self.examples.on_cpu(index)
        view = None
        if self.drawn is not None:
            seed, epoch = self.drawn
            height, width = example.truth.shape
            name = image_hash(self.examples.samples[index].image)
            view = torch.from_numpy(
                view_in(self.strength, seed=seed, epoch=epoch, image=name, height=height, width=width)
            )
        return replace(example, pixels=self.examples.pixels(index, sam2=self.sam2, vision=self.vision), view=view)
