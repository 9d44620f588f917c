"""Batches: every image once, one shape per batch, and full batches for validation."""

from dataclasses import replace

import pytest
import torch

from tune_sa2va.evaluate.batch import Collator
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.train.feed import Feed, Turn
from tune_sa2va.train.workbench import Workbench

SIZES = (96, 60, 96, 96, 60, 96, 60)


class Images:
    """One image's features with truths of two sizes; a truth's first pixels encode the image's index."""

    def __init__(self, example: Example) -> None:
        self._example = example

    def __len__(self) -> int:
        return len(SIZES)

    def on_cpu(self, index: int) -> Example:
        truth = torch.zeros(SIZES[index], 96, dtype=torch.bool)
        truth[0, index] = True
        return replace(self._example, truth=truth)


@pytest.fixture(scope="module")
def images(bench: Workbench) -> Images:
    return Images(bench.train.on_cpu(0))


@pytest.fixture(scope="module")
def feed(bench: Workbench) -> Feed:
    collator = Collator(bench.model, token_multiple=1, canvas_multiple=1)
    return Feed(collator, torch.device("cpu"), None, with_answer=False)


def shown(truth: torch.Tensor) -> list[int]:
    return truth[:, 0].int().argmax(dim=1).tolist()


def test_a_chunk_is_whole_batches_and_single_images(feed: Feed, images: Images) -> None:
    chunks = list(feed.chunks(images, [[5, 1, 0, 2, 6], [3], []], batch_size=2))
    assert [[fed.indices for fed in chunk] for chunk in chunks] == [[[5, 0], [2], [1, 6]], [[3]], []] or [
        sorted(fed.indices for fed in chunk) for chunk in chunks
    ] == [[[1, 6], [2], [5, 0]], [[3]], []]
    for fed in (fed for chunk in chunks for fed in chunk):
        assert shown(fed.batch.truth) == fed.indices
        assert {SIZES[index] for index in fed.indices} == {fed.shape.height}


def test_what_is_no_whole_batch_goes_image_by_image(feed: Feed, images: Images) -> None:
    (chunk,) = feed.chunks(images, [[0, 1, 2, 4]], batch_size=3)
    assert [fed.indices for fed in chunk] == [[0], [2], [1], [4]]
    assert [shown(fed.batch.truth) for fed in chunk] == [[0], [2], [1], [4]]


def test_batches_of_validation_are_always_whole(feed: Feed, images: Images) -> None:
    batches = list(feed.whole(images, range(7), batch_size=3))
    assert sorted(index for fed in batches for index in fed.indices) == list(range(7))
    for fed in batches:
        filled = fed.indices + [fed.indices[-1]] * (3 - len(fed.indices))
        assert shown(fed.batch.truth) == filled
        assert {SIZES[index] for index in fed.indices} == {fed.shape.height}
    assert sorted(len(fed.indices) for fed in batches) == [1, 3, 3]


def test_each_seat_shows_its_own_images_and_says_where_it_has_none(feed: Feed, images: Images) -> None:
    """Images 1, 4 and 6 have another shape, the second seat has a step less, and the third seat is empty."""
    turns = [Turn(images, [[0], [1]], [1, 4]), Turn(images, [[2]], [2]), None]
    first, second = feed.steps(turns, batch_size=1)
    (both,) = first
    assert shown(both.batch.truth)[:2] == [0, 2] and both.shown == (True, True, False)
    assert both.share is not None and both.share.tolist() == [1.0, 0.5, 0.0]
    (alone,) = second
    assert shown(alone.batch.truth) == [1, 1, 1] and alone.shown == (True, False, False)
    assert alone.share is not None and alone.share.tolist() == [0.25, 0.0, 0.0]


def test_images_of_other_shapes_go_in_batches_of_their_own(feed: Feed, images: Images) -> None:
    (step,) = feed.steps([Turn(images, [[0, 1, 2]], [3]), Turn(images, [[4, 3, 6]], [3])], batch_size=2)
    found = [(shown(fed.batch.truth), fed.shown) for fed in step]
    for fed in step:
        assert len({SIZES[index] for index in shown(fed.batch.truth)}) == 1
    own = [[index for rows, has in found if has[seat] for index in _rows(rows, seat)] for seat in (0, 1)]
    assert [sorted(indices) for indices in own] == [[0, 1, 2], [3, 4, 6]]


def _rows(rows: list[int], seat: int) -> list[int]:
    return rows[: len(rows) // 2] if seat == 0 else rows[len(rows) // 2 :]
