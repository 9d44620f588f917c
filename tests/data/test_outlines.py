"""Outlines are rasterised as by pycocotools, and outlines inside others are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from skimage.measure import find_contours

from tune_sa2va.data import rasterise
from tune_sa2va.data.outlines import nested

from .making import SHAPE, rectangle_mask, rectangle_outline

OUTER, HOLE, INNER = (2, 2, 20, 20), (4, 4, 18, 18), (8, 8, 12, 12)


def by_pycocotools(outline: list[float], height: int, width: int) -> np.ndarray:
    decoded: np.ndarray = coco.decode(coco.frPyObjects([outline], height, width))
    return decoded[..., 0].astype(bool)


def outlines(*rectangles: tuple[int, int, int, int]) -> list[list[int]]:
    return [rectangle_outline(rectangle) for rectangle in rectangles]


class TestRasterise:
    def test_a_rectangle_covers_its_area(self) -> None:
        rectangle = (2, 3, 10, 5)
        assert np.array_equal(rasterise([rectangle_outline(rectangle)], *SHAPE), rectangle_mask(rectangle))

    def test_union(self) -> None:
        first, second = (2, 3, 10, 8), (6, 5, 20, 9)
        union = rasterise(outlines(first, second), *SHAPE)
        assert np.array_equal(union, rectangle_mask(first) | rectangle_mask(second))

    def test_even_odd_cuts_holes_and_a_repeat_cuts_none(self) -> None:
        ring = rasterise(outlines(OUTER, HOLE, INNER), *SHAPE, "even-odd")
        wanted = (rectangle_mask(OUTER) & ~rectangle_mask(HOLE)) | rectangle_mask(INNER)
        assert np.array_equal(ring, wanted)
        assert np.array_equal(rasterise(outlines(OUTER, OUTER), *SHAPE, "even-odd"), rectangle_mask(OUTER))

    def test_cut_off_at_the_edge_and_none(self) -> None:
        assert np.array_equal(rasterise(outlines((-5, -5, 3, 4)), *SHAPE), rectangle_mask((0, 0, 3, 4)))
        assert not rasterise([], *SHAPE).any()
        assert not rasterise([()], *SHAPE).any()

    def test_far_corners(self) -> None:
        assert rasterise([[-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300]], *SHAPE).all()

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(st.tuples(st.integers(-80, 400), st.integers(-80, 400)), min_size=3, max_size=9),
        st.sampled_from([1.0, 0.5, 0.37, 0.1, 1 / 3]),
    )
    def test_equals_pycocotools(self, points: list[tuple[int, int]], scale: float) -> None:
        outline = [value * scale for point in points for value in point]
        assert np.array_equal(rasterise([outline], 12, 16), by_pycocotools(outline, 12, 16))

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(st.floats(-3, 20), st.floats(-3, 20)), min_size=3, max_size=40))
    def test_equals_pycocotools_at_any_fraction(self, points: list[tuple[float, float]]) -> None:
        outline = [value for point in points for value in point]
        assert np.array_equal(rasterise([outline], 12, 16), by_pycocotools(outline, 12, 16))

    def test_a_round_vessel_traced_and_filled_again(self) -> None:
        rows, columns = np.mgrid[:60, :80]
        truth = np.hypot(rows - 30, columns - 40) < 17
        traced = find_contours(truth, 0.5)[0][:-1, ::-1] + 0.5  # pixel centres to pixel corners
        found = rasterise([traced.ravel().tolist()], 60, 80)
        assert np.array_equal(found, by_pycocotools(traced.ravel().tolist(), 60, 80))
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.98


class TestNested:
    def test_holes_and_what_lies_in_them(self) -> None:
        assert nested(outlines(INNER, OUTER, HOLE), *SHAPE) == [0, 2]

    @pytest.mark.parametrize(
        "apart",
        [((0, 0, 5, 5), (10, 10, 15, 15)), ((0, 0, 9, 5), (5, 0, 15, 5)), (OUTER, OUTER), ((0, 0, 5, 5), (5, 0, 9, 5))],
    )
    def test_side_by_side_overlapping_and_repeated_are_none(self, apart: tuple[tuple[int, int, int, int], ...]) -> None:
        assert nested(outlines(*apart), *SHAPE) == []

    def test_outlines_that_cover_no_pixel_are_none(self) -> None:
        assert nested([*outlines(OUTER), [5.0, 5.0, 5.1, 5.0, 5.1, 5.1], []], *SHAPE) == []
