"""Batches on the device ahead of use: read, stacked, pinned and copied by a thread while the step before runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import torch

from tune_sa2va.config import Augment
from tune_sa2va.evaluate.batch import Batch, Collator, Shape
from tune_sa2va.evaluate.predict import Example

_In = TypeVar("_In")


class ExampleSource(Protocol):
    """Images by number, on the CPU."""

    def __len__(self) -> int: ...
    def on_cpu(self, index: int) -> Example: ...


class ImageSource(ExampleSource, Protocol):
    """Images whose pixels can be had, for trials that run an encoder in their steps."""

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "TrainingSource": ...


class ValidationSource(ExampleSource, Protocol):
    """Images whose scores are averaged by what they are asked for."""

    @property
    def texts(self) -> Sequence[str]: ...


class ScoredImages(ImageSource, ValidationSource, Protocol):
    """Images that a trial is scored on."""


class TrainingSource(ExampleSource, Protocol):
    """Images that may look another way in each epoch."""

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> ExampleSource: ...


class TrainingImages(TrainingSource, ImageSource, Protocol):
    """What a trial is given to train on."""


class Fed(NamedTuple):
    """A batch on the device. indices: which images the first rows are; rows beyond them only fill the shape."""

    indices: list[int]
    shape: Shape
    batch: Batch


class Feed:
    """Gives batches of one model's images."""

    def __init__(
        self, collator: Collator, device: torch.device, stream: torch.cuda.Stream | None, *, with_answer: bool
    ) -> None:
        """stream: for the copies to a GPU; None on a CPU. Memory that one stream used serves no other, so a lane has
        one for all its trials."""
        self._collator, self._device, self._with_answer = collator, device, with_answer
        self._stream = stream

    def chunks(self, source: ExampleSource, chunks: Sequence[Sequence[int]], *, batch_size: int) -> Iterator[list[Fed]]:
        """For each chunk its batches: images of one shape together, whole batches first, the rest one by one."""

        def make(chunk: Sequence[int]) -> list[Fed]:
            fed = []
            for shape, indices, examples in self._groups(source, chunk, batch_size):
                size = batch_size if len(indices) == batch_size else 1
                for start in range(0, len(indices), size):
                    part = slice(start, start + size)
                    fed.append(self._to_device(indices[part], shape, examples[part]))
            return fed

        yield from self._ahead(make, chunks)

    def whole(self, source: ExampleSource, indices: Sequence[int], *, batch_size: int) -> Iterator[Fed]:
        """All of `indices`, images of one shape together in batches that are always whole: the last images repeat."""

        def make(group: tuple[Shape, list[int], list[Example]]) -> list[Fed]:
            shape, found, examples = group
            return [self._to_device(found, shape, [*examples, *[examples[-1]] * (batch_size - len(examples))])]

        for fed in self._ahead(make, self._groups(source, indices, batch_size)):
            yield from fed

    def _groups(
        self, source: ExampleSource, indices: Iterable[int], batch_size: int
    ) -> Iterator[tuple[Shape, list[int], list[Example]]]:
        open_groups: dict[Shape, tuple[list[int], list[Example]]] = {}
        for index in indices:
            example = source.on_cpu(index)
            shape = self._collator.shape(example, with_answer=self._with_answer)
            numbers, examples = open_groups.setdefault(shape, ([], []))
            numbers.append(index)
            examples.append(example)
            if len(numbers) == batch_size:
                yield shape, *open_groups.pop(shape)
        for shape, group in open_groups.items():
            yield shape, *group

    def _to_device(self, indices: list[int], shape: Shape, examples: Sequence[Example]) -> Fed:
        batch = self._collator.collate(examples, shape)
        if self._stream is None:
            return Fed(indices, shape, batch)
        with torch.cuda.stream(self._stream):
            copied = Batch(*(tensor.pin_memory().to(self._device, non_blocking=True) for tensor in batch))
        return Fed(indices, shape, copied)

    def _ahead(self, make: Callable[[_In], list[Fed]], inputs: Iterable[_In]) -> Iterator[list[Fed]]:
        """`make` of each input, one ahead in a thread where there is a GPU to keep busy."""
        if self._stream is None:
            yield from map(make, inputs)
            return
        todo = iter(inputs)

        def make_next() -> tuple[list[Fed], torch.cuda.Event] | None:
            for given in todo:
                made = make(given)
                assert self._stream is not None
                return made, self._stream.record_event()
            return None

        with ThreadPoolExecutor(1, thread_name_prefix="feed") as thread:
            coming = thread.submit(make_next)
            while (found := coming.result()) is not None:
                coming = thread.submit(make_next)
                made, copied = found
                main = torch.cuda.current_stream(self._device)
                main.wait_event(copied)
                for fed in made:
                    for tensor in fed.batch:
                        tensor.record_stream(main)
                yield made
