"""Batches: every image once, one shape per batch, and full batches for validation."""

from dataclasses import replace

import pytest
import torch

from tune_sa2va.evaluate.batch import Collator
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.train.feed import Feed
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
