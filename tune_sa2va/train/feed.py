"""Prepares batches ahead of use: a thread reads, stacks, pins and copies them while the previous step runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from tune_sa2va.config import Augment
from tune_sa2va.evaluate.batch import Batch, Collator, Shape
from tune_sa2va.evaluate.predict import Example

_In = TypeVar("_In")


class ExampleSource(Protocol):
    """Gives examples by index, on the CPU."""

    def __len__(self) -> int: ...
    def on_cpu(self, index: int) -> Example: ...


class ImageSource(ExampleSource, Protocol):
    """Can also give the pixels of its images, for trials that run an encoder in their steps."""

    def with_pixels(self, *, sam2: bool, vision: bool, strength: float) -> "TrainingSource": ...


class ValidationSource(ExampleSource, Protocol):
    """Also has the text that each image is asked for, which the mean of scores depends on."""

    @property
    def texts(self) -> Sequence[str]: ...


class ScoredImages(ImageSource, ValidationSource, Protocol):
    """Images that a trial is scored on."""


class TrainingSource(ExampleSource, Protocol):
    """Can show its images differently in each epoch (augmentation)."""

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> ExampleSource: ...


class TrainingImages(TrainingSource, ImageSource, Protocol):
    """Images that a trial trains on."""


class Fed(NamedTuple):
    """A batch on the device.

    indices: the images of its first rows; any further rows are padding.
    share: of a training step: see `Stepper.accumulate`. shown: which seats have their images in it.
    """

    indices: list[int]
    shape: Shape
    batch: Batch
    share: Tensor | None = None
    shown: tuple[bool, ...] = ()


class Turn(NamedTuple):
    """What one trial trains on in an epoch.

    chunks: this worker's images in each optimizer step. sizes: the number of images of all workers in that step.
    """

    source: ExampleSource
    chunks: Sequence[Sequence[int]]
    sizes: Sequence[int]


class _Piece(NamedTuple):
    """Images of one shape, which a seat adds to a batch."""

    shape: Shape
    indices: list[int]
    examples: list[Example]


class Feed:
    """Makes batches for one model."""

    def __init__(
        self, collator: Collator, device: torch.device, stream: torch.cuda.Stream | None, *, with_answer: bool
    ) -> None:
        """stream: for copies to the GPU; None on a CPU. The allocator does not reuse one stream's memory for another,
            so a lane has one stream for all its trials.
        with_answer: whether the tokens of the answer are scored, too.
        """
        self._collator, self._device, self._with_answer = collator, device, with_answer
        self._stream = stream

    def chunks(self, source: ExampleSource, chunks: Sequence[Sequence[int]], *, batch_size: int) -> Iterator[list[Fed]]:
        """The batches of each chunk for one trial. Images of one shape are batched together; those left over come one
        by one, so that only two batch sizes occur."""
        yield from self.steps([Turn(source, chunks, list(map(len, chunks)))], batch_size=batch_size)

    def steps(self, turns: Sequence[Turn | None], *, batch_size: int) -> Iterator[list[Fed]]:
        """The batches of each optimizer step of all seats, until the last of them has no more. Sizes as in `chunks`.

        turns: by seat; None for an empty one. In every batch each seat has as many images, of one shape. A seat that
        has none left (because the seats' images differ in shape or number) repeats another's, with a share of 0.
        """

        def make(step: int) -> list[Fed]:
            of_seats = [self._pieces(turn, step, batch_size) for turn in turns]
            kinds = dict.fromkeys((each.shape, len(each.indices)) for pieces in of_seats for each in pieces)
            fed = []
            for kind in kinds:
                rows = [[each for each in pieces if (each.shape, len(each.indices)) == kind] for pieces in of_seats]
                fed += [self._seated(turns, step, row) for row in zip_longest(*rows)]
            return fed

        yield from self._ahead(make, range(max(len(turn.chunks) for turn in turns if turn is not None)))

    def _pieces(self, turn: Turn | None, step: int, batch_size: int) -> list[_Piece]:
        """A seat's images in a step, in pieces of `batch_size` or of one."""
        if turn is None or step >= len(turn.chunks):
            return []
        pieces = []
        for shape, indices, examples in self._groups(turn.source, turn.chunks[step], batch_size):
            size = batch_size if len(indices) == batch_size else 1
            for start in range(0, len(indices), size):
                part = slice(start, start + size)
                pieces.append(_Piece(shape, indices[part], examples[part]))
        return pieces

    def _seated(self, turns: Sequence[Turn | None], step: int, row: Sequence[_Piece | None]) -> Fed:
        """The batch of one piece from each seat."""
        any_piece = next(piece for piece in row if piece is not None)
        shown = tuple(piece is not None for piece in row)
        pieces = [piece or any_piece for piece in row]
        shares = [
            1 / turn.sizes[step] if is_shown and turn is not None else 0.0
            for turn, is_shown in zip(turns, shown, strict=True)
        ]
        fed = self._to_device(
            [index for piece in pieces for index in piece.indices],
            any_piece.shape,
            [example for piece in pieces for example in piece.examples],
        )
        share = torch.tensor(shares if len(shares) > 1 else shares[0])
        if self._stream is not None:
            with torch.cuda.stream(self._stream):
                share = share.pin_memory().to(self._device, non_blocking=True)
        return fed._replace(share=share, shown=shown)

    def whole(self, source: ExampleSource, indices: Sequence[int], *, batch_size: int) -> Iterator[Fed]:
        """All images of `indices` in full batches, each of one shape. A last batch is filled by repeating its last
        image."""

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
        """`make` of each input. On a GPU, a thread works one input ahead."""
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
                    for tensor in (*fed.batch, *(() if fed.share is None else (fed.share,))):
                        tensor.record_stream(main)
                yield made
