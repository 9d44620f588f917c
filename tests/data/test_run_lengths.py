"""COCO's run lengths are decoded as by pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from tune_sa2va.data.run_lengths import unpacked, unrolled
from tune_sa2va.data.sample import Runs


@settings(deadline=None, max_examples=100)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_packed_by_pycocotools_and_back(mask: np.ndarray) -> None:
    packed = coco.encode(np.asfortranarray(mask))
    counts = unpacked(packed["counts"].decode())
    assert sum(counts) == mask.size
    height, width = mask.shape
    assert np.array_equal(unrolled(Runs(size_px=(height, width), counts=counts)), mask.astype(bool))


@given(st.text(max_size=20))
def test_any_text_gives_counts_or_a_value_error(text: str) -> None:
    try:
        counts = unpacked(text)
    except ValueError:
        return
    assert all(isinstance(count, int) for count in counts)


@pytest.mark.parametrize("text", ["~", " ", "P", "o" * 20, "é"])
def test_no_run_lengths(text: str) -> None:
    with pytest.raises(ValueError):
        unpacked(text)
