"""The mask losses against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tune_sa2va.config import LossSettings
from tune_sa2va.train.loss import (
    bce_loss,
    cldice_loss,
    combo_loss,
    dice_loss,
    focal_loss,
    focal_tversky_loss,
    soft_skeleton,
)

LN2 = math.log(2)
EVERYTHING = LossSettings(cldice=0.5, focal_tversky=0.5)
ONE_OF_FOUR = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
UNSURE = torch.zeros(2, 2)  # a probability of 0.5 everywhere


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_dice_by_hand() -> None:
    # sum(p y) = 0.5, sum(p) = 2, sum(y) = 1: 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    assert dice_loss(UNSURE, ONE_OF_FOUR).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("prediction", "truth", "loss"),
    [
        (torch.full((2, 2), -100.0), torch.zeros(2, 2), 0.0),  # both empty: right
        (torch.full((2, 2), 100.0), torch.ones(2, 2), 0.0),
        (torch.full((2, 2), -100.0), torch.ones(2, 2), 1 - 1 / 5),  # smoothing 1 keeps it off 1
    ],
)
def test_dice_at_the_ends(prediction: torch.Tensor, truth: torch.Tensor, loss: float) -> None:
    assert dice_loss(prediction, truth).item() == pytest.approx(loss, abs=1e-6)


def test_focal_by_hand() -> None:
    # p_t = 0.5 everywhere: alpha_t * 0.5^2 * ln 2, once with 0.8 and three times with 0.2
    expected = (0.8 + 3 * 0.2) / 4 * 0.25 * LN2
    assert focal_loss(UNSURE, ONE_OF_FOUR, alpha=0.8, gamma=2.0).item() == pytest.approx(expected)


def test_focal_weighs_easy_pixels_down() -> None:
    # One vessel pixel at p = 0.9 and one background pixel at p = 0.3.
    logits, truth = torch.tensor([[logit(0.9), logit(0.3)]]), torch.tensor([[1.0, 0.0]])
    expected = (0.8 * 0.1**2 * -math.log(0.9) + 0.2 * 0.3**2 * -math.log(0.7)) / 2
    assert focal_loss(logits, truth, alpha=0.8, gamma=2.0).item() == pytest.approx(expected, rel=1e-5)


def test_focal_alpha_balances_the_classes() -> None:
    # The same mistake on a vessel pixel costs alpha / (1 - alpha) times what it costs on a background pixel.
    vessel = focal_loss(torch.tensor([[-1.0]]), torch.ones(1, 1), alpha=0.8, gamma=2.0)
    background = focal_loss(torch.tensor([[1.0]]), torch.zeros(1, 1), alpha=0.8, gamma=2.0)
    assert (vessel / background).item() == pytest.approx(4.0)


def test_focal_without_gamma_is_weighted_bce() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    truth = (torch.rand(3, 5, 7, generator=generator) < 0.3).float()
    weights = torch.where(truth == 1, 0.7, 0.3)
    expected = F.binary_cross_entropy_with_logits(logits, truth, weight=weights, reduction="none").mean(dim=(1, 2))
    torch.testing.assert_close(focal_loss(logits, truth, alpha=0.7, gamma=0.0), expected)


def test_bce_by_hand() -> None:
    logits, truth = torch.tensor([[logit(0.9), logit(0.3)]]), torch.tensor([[1.0, 0.0]])
    assert bce_loss(logits, truth).item() == pytest.approx((-math.log(0.9) - math.log(0.7)) / 2, rel=1e-5)


def test_focal_tversky_by_hand() -> None:
    # sum(p y) = 0.5, missed 0.5, wrongly called 3 x 0.5: TI = 1.5 / (0.5 + 0.7 x 0.5 + 0.3 x 1.5 + 1)
    loss = focal_tversky_loss(UNSURE, ONE_OF_FOUR, alpha=0.7, beta=0.3, gamma=4 / 3)
    assert loss.item() == pytest.approx((1 - 1.5 / 2.3) ** 0.75)


def test_focal_tversky_weighs_misses_by_alpha() -> None:
    # All missed (4 pixels), then as many wrongly called: TI is 1 / (1 + 4 alpha), then 1 / (1 + 4 beta).
    nothing, all_of_it = torch.full((2, 2), -100.0), torch.full((2, 2), 100.0)
    missed = focal_tversky_loss(nothing, torch.ones(2, 2), alpha=0.7, beta=0.2, gamma=1.0)
    wrong = focal_tversky_loss(all_of_it, torch.zeros(2, 2), alpha=0.7, beta=0.2, gamma=1.0)
    assert (missed.item(), wrong.item()) == pytest.approx((1 - 1 / 3.8, 1 - 1 / 1.8))


def test_even_tversky_is_dice() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    truth = (torch.rand(3, 5, 7, generator=generator) < 0.3).float()
    prob = logits.sigmoid()
    sizes = prob.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    expected = 1 - (2 * (prob * truth).sum(dim=(1, 2)) + 2) / (sizes + 2)
    torch.testing.assert_close(focal_tversky_loss(logits, truth, alpha=0.5, beta=0.5, gamma=1.0), expected)


def skeleton_by_algorithm_1(image: np.ndarray, erosions: int) -> np.ndarray:
    """arXiv 2003.07311, algorithm 1, pixel by pixel; pixels outside the image are ignored."""
    height, width = image.shape

    def over(picture: np.ndarray, pick, steps: list[tuple[int, int]]) -> np.ndarray:  # type: ignore[no-untyped-def]
        found = np.empty_like(picture)
        for y in range(height):
            for x in range(width):
                near = [(y + dy, x + dx) for dy, dx in steps if 0 <= y + dy < height and 0 <= x + dx < width]
                found[y, x] = pick(picture[place] for place in near)
        return found

    cross = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]
    square = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    skeleton = np.maximum(image - over(over(image, min, cross), max, square), 0)
    for _ in range(erosions):
        image = over(image, min, cross)
        opened = over(over(image, min, cross), max, square)
        skeleton = skeleton + (1 - skeleton) * np.maximum(image - opened, 0)
    return skeleton


def test_the_soft_skeleton_is_the_papers() -> None:
    image = np.random.default_rng(0).random((9, 12))
    image[2:7, 1:11] = 1 - image[2:7, 1:11] / 10  # a bar, five pixels wide
    torch.testing.assert_close(soft_skeleton(torch.tensor(image)), torch.tensor(skeleton_by_algorithm_1(image, 10)))


def test_a_bars_skeleton_is_its_middle() -> None:
    bar = torch.zeros(15, 30)
    bar[4:11, :] = 1  # from edge to edge
    expected = torch.zeros(15, 30)
    expected[7, :] = 1
    torch.testing.assert_close(soft_skeleton(bar), expected)


def test_cldice_by_hand() -> None:
    # Truth: a bar of 3 x 30, centre line 30 pixels. Prediction: its left 20 columns, whose centre line is 18 or more
    # pixels, all in the truth. Precision 1, sensitivity (20 + 1) / (30 + 1).
    truth, prediction = torch.zeros(9, 30), torch.full((9, 30), -100.0)
    truth[3:6, :], prediction[3:6, :20] = 1, 100.0
    sensitivity = 21 / 31
    assert cldice_loss(prediction, truth).item() == pytest.approx(1 - 2 * sensitivity / (1 + sensitivity), abs=1e-5)
    # The centre line counts, not the width.
    thick = torch.full((9, 30), -100.0)
    thick[2:7, :] = 100.0
    assert cldice_loss(thick, truth).item() == pytest.approx(0, abs=1e-6) and dice_loss(thick, truth).item() > 0.2


@pytest.mark.parametrize(
    ("prediction", "truth", "loss"),
    [(-100.0, 0.0, 0.0), (100.0, 1.0, 0.0), (-100.0, 1.0, None)],
)
def test_cldice_at_the_ends(prediction: float, truth: float, loss: float | None) -> None:
    found = cldice_loss(torch.full((8, 8), prediction), torch.full((8, 8), truth)).item()
    assert found == pytest.approx(loss, abs=1e-6) if loss is not None else found >= 0


def test_losses_do_not_see_the_canvas_beyond_the_image() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 11, 9, generator=generator, requires_grad=True)
    truth = (torch.rand(2, 11, 9, generator=generator) < 0.4).float()
    alone = combo_loss(logits, truth, EVERYTHING)
    (gradient,) = torch.autograd.grad(alone.total.sum(), logits)
    canvas = F.pad(logits, (0, 5, 0, 4))
    valid = F.pad(torch.ones(2, 11, 9, dtype=torch.bool), (0, 5, 0, 4))
    on_canvas = combo_loss(canvas, F.pad(truth, (0, 5, 0, 4)), EVERYTHING, valid)
    torch.testing.assert_close(on_canvas, alone)
    torch.testing.assert_close(torch.autograd.grad(on_canvas.total.sum(), logits)[0], gradient)


def test_combo_is_the_weighted_sum_of_its_parts() -> None:
    settings = LossSettings(dice=2.0, focal=3.0, bce=0.25, focal_alpha=0.8, focal_gamma=2.0)
    parts = combo_loss(UNSURE, ONE_OF_FOUR, settings)
    focal = (0.8 + 3 * 0.2) / 4 * 0.25 * LN2
    assert [value.item() for value in parts[1:]] == pytest.approx([0.5, focal, LN2, 0, 0])
    assert parts.total.item() == pytest.approx(2.0 * 0.5 + 3.0 * focal + 0.25 * LN2)
    thin = combo_loss(UNSURE, ONE_OF_FOUR, settings.model_copy(update={"cldice": 0.5, "focal_tversky": 2.0}))
    cldice = cldice_loss(UNSURE, ONE_OF_FOUR).item()
    tversky = focal_tversky_loss(UNSURE, ONE_OF_FOUR, alpha=0.7, beta=0.3, gamma=4 / 3).item()
    assert [value.item() for value in thin[4:]] == pytest.approx([cldice, tversky])
    assert thin.total.item() == pytest.approx(parts.total.item() + 0.5 * cldice + 2.0 * tversky)


def test_each_image_by_itself_under_any_leading_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)  # adapters x images
    truth = (torch.rand(2, 3, 8, 8, generator=generator) < 0.3).float()
    together = combo_loss(logits, truth, EVERYTHING)
    assert together.total.shape == (2, 3)
    alone = combo_loss(logits[1, 2], truth[1, 2], EVERYTHING)
    for whole, single in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[1, 2], single)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("size", [0.0, 20.0, 100.0, 1e4])
def test_finite_at_extreme_logits(gamma: float, size: float) -> None:
    logits = torch.tensor([[size, -size], [size, -size]], requires_grad=True)
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # right, right, wrong, wrong
    parts = combo_loss(logits, truth, LossSettings(focal_gamma=gamma, cldice=0.5, focal_tversky=0.5))
    assert all(value.isfinite() for value in parts)
    parts.total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    # Downhill is towards the truth, above all where the prediction is wrong.
    assert logits.grad[1, 0] > 0 > logits.grad[1, 1]


def test_gradients_are_those_of_the_values() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    truth = (torch.rand(4, 4, generator=generator) < 0.4).double()
    settings = LossSettings(focal_gamma=1.5, cldice=0.5, focal_tversky=0.5)
    assert torch.autograd.gradcheck(lambda x: combo_loss(x, truth, settings).total, (logits,))


@pytest.mark.parametrize("beyond", [0.0, 3.0, -3.0])
def test_pixels_beyond_the_image_count_nowhere(beyond: float) -> None:
    """An image in the corner of a larger canvas has the loss of the image alone, whatever the logits outside it."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator)
    truth = (torch.rand(2, 5, 7, generator=generator) < 0.3).float()
    padding = (0, 4, 0, 3)
    valid = F.pad(torch.ones(2, 5, 7, dtype=torch.bool), padding)
    on_canvas = combo_loss(F.pad(logits, padding, value=beyond), F.pad(truth, padding), LossSettings(), valid)
    for padded, alone in zip(on_canvas, combo_loss(logits, truth, LossSettings()), strict=True):
        torch.testing.assert_close(padded, alone)
