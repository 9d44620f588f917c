"""Procedural scenes as training examples, drawn by worker processes into a pool on the training device.

A CPU core needs tens of milliseconds to draw a scene, but a training step uses sixteen in less than a tenth of a
second. So every scene stays in the pool and is used several times, with different prompts and augmentations.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from tune_sa2va.data import procedural
from tune_sa2va.model.prompt import IGNORE_INDEX, Prompter
from tune_sa2va.pretrain.corpus import ANSWERS, FAMILY_SYNONYMS, QUESTIONS, VESSEL_SYNONYMS

VESSEL = "blood vessel"
TARGETS = 3
"""Number of prompts per scene; vessels come first if there are any."""


@dataclass(frozen=True, slots=True)
class Examples:
    """B scenes with K prompts each. masks: one per prompt. input_ids, labels: padded on the right to the length T."""

    images: UInt8[Tensor, "B 3 H W"]
    masks: Bool[Tensor, "B K H W"]
    input_ids: Int[Tensor, "B K T"]
    labels: Int[Tensor, "B K T"]
    seg_positions: Int[Tensor, "B K"]
    has_vessel: Bool[Tensor, " B"]


class SceneStream(IterableDataset[Examples]):
    """An endless stream of single scenes. The workers take the seeds from `first_seed` on in turn."""

    def __init__(self, prompter: Prompter, *, num_image_tokens: int, length: int, size: int, first_seed: int) -> None:
        self.prompter = prompter
        self.num_image_tokens = num_image_tokens
        self.length = length
        self.size = size
        self.first_seed = first_seed

    def __iter__(self) -> Iterator[Examples]:
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        seed = self.first_seed + worker
        while True:
            yield self.example(seed)
            seed += workers

    def example(self, seed: int) -> Examples:
        """The scene of a seed; its family, prompts and answers are drawn from the seed, too."""
        rng = np.random.default_rng(seed)
        family = rng.choice(procedural.PRETRAINING_FAMILIES, p=(0.5, 0.3, 0.2))
        scene = procedural.render(str(family), seed, self.size)
        while not scene.masks:
            scene = procedural.render(str(family), int(rng.integers(2**31)), self.size)
        texts = list(scene.masks)
        others = [text for text in texts if text != VESSEL]
        rng.shuffle(others)
        chosen = ([VESSEL] if VESSEL in texts else []) + others
        # A scene with fewer texts than TARGETS is asked for one of them again, with another question.
        chosen = [chosen[i % len(chosen)] for i in range(TARGETS)]
        prompts = [self._prompt(rng, _reworded(rng, text, str(family))) for text in chosen]
        return Examples(
            images=torch.from_numpy(scene.image.copy()).permute(2, 0, 1).contiguous()[None],
            masks=torch.stack([torch.from_numpy(scene.masks[text].copy()) for text in chosen])[None],
            input_ids=torch.stack([p[0] for p in prompts])[None],
            labels=torch.stack([p[1] for p in prompts])[None],
            seg_positions=torch.tensor([p[2] for p in prompts])[None],
            has_vessel=torch.tensor([VESSEL in texts]),
        )

    def _prompt(self, rng: np.random.Generator, text: str) -> tuple[Tensor, Tensor, int]:
        tokens = self.prompter.build(
            question=str(rng.choice(QUESTIONS)).format(text=text),
            answer=str(rng.choice(ANSWERS)),
            num_image_tokens=self.num_image_tokens,
        )
        missing = self.length - len(tokens.input_ids)
        assert missing >= 0, f"{text!r} needs {len(tokens.input_ids)} tokens, {self.length} are kept"
        input_ids = torch.nn.functional.pad(tokens.input_ids, (0, missing), value=self.prompter.pad_id)
        labels = torch.nn.functional.pad(tokens.labels, (0, missing), value=IGNORE_INDEX)
        return input_ids, labels, tokens.seg_position


def _reworded(rng: np.random.Generator, text: str, family: str) -> str:
    """The text, or for one in five vessel prompts a synonym."""
    if text != VESSEL or rng.random() >= 0.2:
        return text
    return str(rng.choice(VESSEL_SYNONYMS + FAMILY_SYNONYMS.get(family, ())))


class ScenePool:
    """A ring buffer of scenes on the device, filled by worker processes."""

    def __init__(self, stream: SceneStream, *, capacity: int, workers: int, device: torch.device) -> None:
        loader = DataLoader(
            stream, batch_size=8, num_workers=workers, collate_fn=_collate, prefetch_factor=4 if workers else None
        )
        self._batches = iter(loader)
        self._device = device
        self._capacity = capacity
        self._next = 0
        self.drawn = 0
        first = self._draw()
        self._ring = [torch.empty(capacity, *field.shape[1:], dtype=field.dtype, device=device) for field in first]
        self._put(first)

    def refill(self, scenes: int) -> None:
        """Draws at least `scenes` more scenes, and waits for them."""
        goal = self.drawn + scenes
        while self.drawn < goal:
            self._put(self._draw())

    def sample(self, count: int, *, vessel_share: float, generator: torch.Generator) -> Examples:
        """`count` random prompts from the pool (K = 1). A scene with vessels is asked for them with `vessel_share`."""
        filled = min(self.drawn, self._capacity)
        rows = torch.randint(filled, (count,), generator=generator, device=self._device)
        images, masks, input_ids, labels, seg_positions, has_vessel = (field[rows] for field in self._ring)
        ask_vessel = torch.rand(count, generator=generator, device=self._device) < vessel_share
        other = torch.randint(1, TARGETS, (count,), generator=generator, device=self._device)
        slot = torch.where(ask_vessel | ~has_vessel, torch.zeros_like(other), other)
        slot = torch.where(has_vessel, slot, torch.randint(TARGETS, (count,), generator=generator, device=self._device))
        each = torch.arange(count, device=self._device)
        return Examples(
            images, masks[each, slot][:, None], input_ids[each, slot][:, None], labels[each, slot][:, None],
            seg_positions[each, slot][:, None], has_vessel,
        )  # fmt: skip

    def _draw(self) -> list[Tensor]:
        batch = next(self._batches)
        return [getattr(batch, name).to(self._device, non_blocking=True) for name in Examples.__slots__]

    def _put(self, fields: list[Tensor]) -> None:
        count = fields[0].shape[0]
        rows = (torch.arange(count) + self._next) % self._capacity
        for ring, field in zip(self._ring, fields, strict=True):
            ring[rows.to(self._device)] = field
        self._next = (self._next + count) % self._capacity
        self.drawn += count


def _collate(examples: list[Examples]) -> Examples:
    return Examples(*(torch.cat([getattr(e, name) for e in examples]) for name in Examples.__slots__))
