"""Centreline Dice and Betti numbers against hand-made shapes and scikit-image."""

import math

import numpy as np
import pytest
from skimage.draw import disk, line
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from tune_sa2va.evaluate.topology import BettiNumbers, betti_error, betti_numbers, cl_dice

EMPTY = np.zeros((24, 32), dtype=bool)


def bar(row: int, first: int, past: int, width: int = 3) -> np.ndarray:
    mask = EMPTY.copy()
    mask[row : row + width, first:past] = True
    return mask


def ring(radius: int = 6) -> np.ndarray:
    mask = EMPTY.copy()
    mask[disk((12, 14), radius)] = True
    mask[disk((12, 14), radius - 2)] = False
    return mask


def test_a_mask_and_itself_are_perfect() -> None:
    assert cl_dice(bar(4, 2, 30), bar(4, 2, 30)) == 1.0
    assert betti_error(ring(), ring()) == 0.0


def test_cl_dice_by_hand_of_half_a_vessel() -> None:
    """One-pixel lines are their own skeletons: precision 1, sensitivity 10/20."""
    truth, half = bar(5, 4, 24, width=1), bar(5, 4, 14, width=1)
    assert cl_dice(half, truth) == pytest.approx(2 * 1.0 * 0.5 / 1.5)
    assert cl_dice(truth, half) == pytest.approx(2 * 1.0 * 0.5 / 1.5)


def test_cl_dice_by_hand_with_a_false_branch() -> None:
    """20 true pixels, all found, beside 5 false ones: precision 20/25, sensitivity 1."""
    truth = bar(5, 4, 24, width=1)
    assert cl_dice(truth | bar(15, 0, 5, width=1), truth) == pytest.approx(2 * 0.8 / 1.8)


def test_cl_dice_does_not_ask_for_the_width() -> None:
    """A vessel drawn twice as wide keeps its centre line; Dice would fall to 0.6."""
    assert cl_dice(bar(3, 2, 30, width=7), bar(5, 2, 30, width=3)) > 0.9


def test_cl_dice_sees_a_cut_that_dice_does_not() -> None:
    truth = bar(4, 2, 30)
    cut = truth.copy()
    cut[:, 15:18] = False
    assert betti_numbers(cut) == BettiNumbers(b0=2, b1=0)
    assert betti_error(cut, truth) == 1.0
    assert cl_dice(cut, truth) < 1.0


def test_masks_that_never_meet_score_0() -> None:
    assert cl_dice(bar(2, 2, 30), bar(16, 2, 30)) == 0.0


def test_nothing_and_nothing_is_nan_nothing_and_something_is_worst() -> None:
    assert math.isnan(cl_dice(EMPTY, EMPTY))
    assert math.isnan(betti_error(EMPTY, EMPTY))
    assert cl_dice(EMPTY, ring()) == cl_dice(ring(), EMPTY) == 0.0
    assert betti_error(EMPTY, ring()) == 2.0


def test_every_mask_of_3_by_4_pixels_has_a_skeleton() -> None:
    """Some implementations of Zhang and Suen's thinning erase a 2 x 2 block; clDice would then divide by 0."""
    for bits in range(1, 1 << 12):
        mask = np.array([(bits >> place) & 1 for place in range(12)], dtype=bool).reshape(3, 4)
        assert skeletonize(mask).any(), mask


@pytest.mark.parametrize(
    ("mask", "numbers"),
    [
        (EMPTY, BettiNumbers(0, 0)),
        (~EMPTY, BettiNumbers(1, 0)),
        (ring(), BettiNumbers(1, 1)),
        (ring(8) | ring(3), BettiNumbers(2, 2)),
        (np.eye(9, dtype=bool), BettiNumbers(1, 0)),
        (~np.eye(9, dtype=bool), BettiNumbers(1, 7)),
    ],
    ids=[
        "empty",
        "full",
        "ring",
        "ring in ring",
        "diagonal is one piece",
        "diagonal holes are 7 apart, 2 open at the rim",
    ],
)
def test_betti_numbers_of_known_shapes(mask: np.ndarray, numbers: BettiNumbers) -> None:
    assert betti_numbers(mask) == numbers


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8])
def test_euler_number_of_scikit_image_is_b0_minus_b1(share: float) -> None:
    masks = np.random.default_rng(3).random((6, 37, 51)) < share
    for mask in masks:
        numbers = betti_numbers(mask)
        assert numbers.b0 - numbers.b1 == euler_number(mask, connectivity=2)


def test_a_thin_slanting_vessel_is_one_piece() -> None:
    mask = EMPTY.copy()
    mask[line(2, 2, 20, 29)] = True
    assert betti_numbers(mask) == BettiNumbers(1, 0)


@pytest.mark.parametrize("score", [cl_dice, betti_error])
def test_other_grids_and_kinds_are_refused(score) -> None:
    with pytest.raises(ValueError, match="one shape"):
        score(EMPTY, EMPTY[:, 1:])
    with pytest.raises(ValueError, match="bool"):
        score(EMPTY.astype(np.uint8), EMPTY)
