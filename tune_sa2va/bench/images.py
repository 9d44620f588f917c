"""Made-up images with features: random numbers of the true shapes, for timing without data or encoders."""

from dataclasses import dataclass, replace

import torch

from tune_sa2va.config import Augment
from tune_sa2va.data.views import view_in
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.dims import Sa2VADims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.preprocess import num_tiles, pixels_of
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA

_NUM_DISTINCT = 16


@dataclass(frozen=True, slots=True)
class MadeUpImages:
    """`count` images of one size, at most 16 of them distinct. Truths are stripes: about a tenth is vessel."""

    examples: tuple[Example, ...]
    count: int
    dims: Sa2VADims

    @classmethod
    def make(cls, model: Sa2VA, name: str, *, height: int, width: int, count: int) -> "MadeUpImages":
        """Images for `model`, which was loaded from the folder or preset `name`."""
        generator = torch.Generator().manual_seed(0)
        dims, dtype = model.dims, model.no_mem_embed.dtype
        tokens = dims.tokens_per_tile * num_tiles(width, height, dims)
        prompt = Prompter(model_folder(name)).build(
            question="Please segment the blood vessel.", answer="It is [SEG].", num_image_tokens=tokens
        )
        side, d = dims.sam2.embed_side, dims.sam2.d

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).bfloat16().to(dtype)  # the same values in each precision

        examples = []
        for number in range(min(count, _NUM_DISTINCT)):
            features = ImageFeatures(
                draw(tokens, dims.language_model.hidden_size),
                draw(d, side, side),
                draw(d // 4, 2 * side, 2 * side),
                draw(d // 8, 4 * side, 4 * side),
            )
            stripes = (torch.arange(width) + torch.arange(height)[:, None] + number) % 40 < 4
            examples.append(Example(features, prompt, stripes))
        return cls(tuple(examples), count, dims)

    def __len__(self) -> int:
        return self.count

    @property
    def texts(self) -> tuple[str, ...]:
        """One text for all images."""
        return ("",) * self.count

    def on_cpu(self, index: int) -> Example:
        """One of the examples."""
        return self.examples[index % len(self.examples)]

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "MadeUpImages":
        """The same images in every epoch: they are not augmented."""
        return self

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "MadeUpImages":
        """The same images with pixels of noise for these encoders; with an augmented view of each if `strength` > 0."""
        generator = torch.Generator().manual_seed(1)
        examples = []
        for number, example in enumerate(self.examples):
            height, width = example.truth.shape
            picture = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator).numpy()
            view = view_in(strength, seed=0, epoch=1, image=str(number), height=height, width=width)
            examples.append(
                replace(
                    example,
                    pixels=pixels_of(picture, self.dims, sam2=sam2, vision=vision),
                    view=torch.from_numpy(view) if strength else None,
                )
            )
        return replace(self, examples=tuple(examples))

    @property
    def num_tokens(self) -> int:
        """Number of text and image tokens in a sequence."""
        return len(self.examples[0].tokens.input_ids)
