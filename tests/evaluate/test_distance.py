"""The 95% Hausdorff distance of shapes with known answers, and against a computation over all pairs of pixels."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance

from tune_sa2va.evaluate.distance import hausdorff_95

EMPTY = np.zeros((30, 40), dtype=bool)


def bar(row: int, first: int, past: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[row, first:past] = True
    return mask


def test_the_same_outline_is_at_0() -> None:
    assert hausdorff_95(bar(3, 2, 30), bar(3, 2, 30)) == 0.0


def test_a_line_moved_down_by_7_px_is_at_7() -> None:
    assert hausdorff_95(bar(3, 2, 30), bar(10, 2, 30)) == 7.0


def test_the_larger_direction_counts_whichever_way_round() -> None:
    """Half the truth is missed: from prediction to truth 0 px, from truth to prediction up to 20 px."""
    truth, half = bar(5, 0, 40), bar(5, 0, 20)
    expected = np.percentile([0.0] * 20 + list(range(1, 21)), 95)
    assert hausdorff_95(half, truth) == hausdorff_95(truth, half) == pytest.approx(expected)


def test_a_far_speck_under_5_percent_does_not_count_and_scikit_image_shows_it() -> None:
    truth = bar(5, 0, 40)
    speckled = truth.copy()
    speckled[29, 39] = True
    assert hausdorff_95(speckled, truth) == 0.0
    assert hausdorff_distance(speckled, truth) == 24.0


def test_only_outlines_count() -> None:
    """A filled block and its bare outline have the same outline."""
    block = EMPTY.copy()
    block[4:20, 4:20] = True
    outline = block.copy()
    outline[5:19, 5:19] = False
    assert hausdorff_95(block, outline) == 0.0


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_all_pairs_of_outline_pixels_agree(share: float) -> None:
    first, second = np.random.default_rng(5).random((2, 21, 33)) < share
    distances = cdist(_outline_by_hand(first), _outline_by_hand(second))
    expected = max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))
    assert hausdorff_95(first, second) == pytest.approx(expected)


def _outline_by_hand(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return np.array(
        [
            (row, column)
            for row, column in np.argwhere(mask)
            if not (
                padded[row, column + 1]
                and padded[row + 2, column + 1]
                and padded[row + 1, column]
                and padded[row + 1, column + 2]
            )
        ],
        dtype=float,
    )


def test_empty_masks() -> None:
    assert math.isnan(hausdorff_95(EMPTY, EMPTY))
    assert hausdorff_95(EMPTY, bar(3, 2, 30)) == hausdorff_95(bar(3, 2, 30), EMPTY) == 50.0


def test_other_grids_and_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        hausdorff_95(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="bool"):
        hausdorff_95(EMPTY, EMPTY.astype(float))
