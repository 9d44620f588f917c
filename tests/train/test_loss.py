"""The mask losses against values worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from tune_sa2va.config import LossSettings
from tune_sa2va.train.loss import bce_loss, combo_loss, dice_loss, focal_loss

LN2 = math.log(2)
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


def test_combo_is_the_weighted_sum_of_its_parts() -> None:
    settings = LossSettings(dice=2.0, focal=3.0, bce=0.25, focal_alpha=0.8, focal_gamma=2.0)
    parts = combo_loss(UNSURE, ONE_OF_FOUR, settings)
    focal = (0.8 + 3 * 0.2) / 4 * 0.25 * LN2
    assert [value.item() for value in parts[1:]] == pytest.approx([0.5, focal, LN2])
    assert parts.total.item() == pytest.approx(2.0 * 0.5 + 3.0 * focal + 0.25 * LN2)


def test_each_image_by_itself_under_any_leading_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)  # adapters x images
    truth = (torch.rand(2, 3, 8, 8, generator=generator) < 0.3).float()
    together = combo_loss(logits, truth, LossSettings())
    assert together.total.shape == (2, 3)
    alone = combo_loss(logits[1, 2], truth[1, 2], LossSettings())
    for whole, single in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[1, 2], single)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("size", [0.0, 20.0, 100.0, 1e4])
def test_finite_at_extreme_logits(gamma: float, size: float) -> None:
    logits = torch.tensor([[size, -size], [size, -size]], requires_grad=True)
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # right, right, wrong, wrong
    parts = combo_loss(logits, truth, LossSettings(focal_gamma=gamma))
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
    assert torch.autograd.gradcheck(lambda x: combo_loss(x, truth, LossSettings(focal_gamma=1.5)).total, (logits,))


@pytest.mark.parametrize("beyond", [0.0, 3.0, -3.0])
def test_pixels_beyond_the_image_count_nowhere(beyond: float) -> None:
    """An image in the corner of a larger canvas, whatever the logits say there: its parts are the image's own."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator)
    truth = (torch.rand(2, 5, 7, generator=generator) < 0.3).float()
    padding = (0, 4, 0, 3)
    valid = F.pad(torch.ones(2, 5, 7, dtype=torch.bool), padding)
    on_canvas = combo_loss(F.pad(logits, padding, value=beyond), F.pad(truth, padding), LossSettings(), valid)
    for padded, alone in zip(on_canvas, combo_loss(logits, truth, LossSettings()), strict=True):
        torch.testing.assert_close(padded, alone)
