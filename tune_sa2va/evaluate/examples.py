"""The images of one part of a data set as `Example`s: features from the cache, with truth and tokens kept in memory.

If a trial changes an encoder, its features are not those in the cache: training also gets pixels
(`Examples.with_pixels`), and for scoring the model encodes each image (`Examples.for_members`).
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
    """The images of one part as `Example`s. Truth and tokens are kept once made; features are read on each access.

    `examples[index]` is an example on the device, `on_cpu(index)` one on the CPU.
    """

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
        """An image with its question, on the CPU; image and truth flipped or turned as `variant` says."""
        sample = self.samples[index]
        features = self._cache.load(sample, variant)
        truth = self.truth(index)
        if variant is not Variant.AS_IS:
            truth = torch.from_numpy(laid_out(truth.numpy(), variant))
        return Example(features, self._tokens(sample, len(features.image_tokens)), truth)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "EpochExamples":
        """The images as one epoch shows them. An image's variant depends only on seed, epoch and its content."""
        return self.only(range(len(self))).in_epoch(epoch, seed=seed, augment=augment)

    def only(self, places: Sequence[int]) -> "SomeExamples":
        """The images at these places, in this order."""
        return SomeExamples(self, tuple(places))

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "PixelExamples":
        """The images with the inputs of those encoders. strength: of the augmentation; see `data.views`."""
        return PixelExamples(self, sam2, vision, strength)

    def for_members(self, model: Sa2VA, members: Members) -> "Examples":
        """These images for predictions by `members`, which are attached to `model`.

        If the members change an encoder, features are computed by the model at each access and not read from the cache.
        """
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
        """The inputs of those encoders for an image; decoded once and kept."""
        key = (index, sam2, vision)
        if key not in self._pixels:
            image = load_image(self.samples[index].image)
            self._pixels[key] = pixels_of(image, self._cache.dims, sam2=sam2, vision=vision)
        return self._pixels[key]

    def truth(self, index: int) -> torch.Tensor:
        """The true mask of an image, bool (H, W), on the CPU."""
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
    """Some of the images of `examples`, such as a fold or all but a fold. Truth and tokens are kept in `examples`."""

    examples: Examples
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The selected images, in order."""
        return tuple(self.examples.samples[place] for place in self.places)

    @property
    def texts(self) -> tuple[str, ...]:
        """What each image is asked for."""
        return tuple(sample.text for sample in self.samples)

    def only(self, places: Sequence[int]) -> "SomeExamples":
        """The images at these places in this selection, in this order."""
        return SomeExamples(self.examples, tuple(self.places[place] for place in places))

    def on_cpu(self, index: int, variant: Variant = Variant.AS_IS) -> Example:
        """As `Examples.on_cpu`, by the index in this selection."""
        return self.examples.on_cpu(self.places[index], variant)

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "PixelExamples":
        """As `Examples.with_pixels`."""
        return PixelExamples(self, sam2, vision, strength)

    def pixels(self, index: int, *, sam2: bool, vision: bool) -> Pixels:
        """As `Examples.pixels`, by the index in this selection."""
        return self.examples.pixels(self.places[index], sam2=sam2, vision=vision)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "EpochExamples":
        """As `Examples.in_epoch`: an image has the same variant in every selection that it is in."""
        shown = (variant_in(augment, seed=seed, epoch=epoch, image=image_hash(sample.image)) for sample in self.samples)
        return EpochExamples(self, tuple(shown))


@dataclass(frozen=True, slots=True)
class EpochExamples:
    """Images of one part, each in its variant of the epoch."""

    part: SomeExamples
    variants: tuple[Variant, ...]

    def __len__(self) -> int:
        return len(self.variants)

    def on_cpu(self, index: int) -> Example:
        """An image with its question, on the CPU."""
        return self.part.on_cpu(index, self.variants[index])


@dataclass(frozen=True, slots=True)
class PixelExamples:
    """The images of one part with pixels for the encoders that run in the step.

    sam2, vision: which encoders run. strength: of the augmentation, 0 for none.
    drawn: (seed, epoch) that the views are drawn from; None to show images as they are.
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
        assert augment == "none", "cached variants are for encoders that do not change"
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
