"""Dropout masks as a function of numbers: as random as a generator's, and each seat's by itself."""

from itertools import product

import pytest
import torch
from torch import Tensor

from tune_sa2va.model.dropout import keep_mask, noise, seeds_of


def mask(seed: int = 1, draw: int = 0, place: int = 0, probability: float = 0.5, size: int = 40_000) -> Tensor:
    return keep_mask((4, size // 4), place, torch.tensor(seeds_of(seed)), torch.tensor(draw), torch.tensor(probability))


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.3, 0.9])
def test_so_many_are_kept(probability: float) -> None:
    kept = mask(probability=probability).double().mean().item()
    assert kept == pytest.approx(1 - probability, abs=5 * (probability * (1 - probability) / 40_000) ** 0.5)


def test_masks_of_other_seeds_draws_places_and_elements_do_not_go_together() -> None:
    """The share of equal elements of two independent masks is a half, within five standard deviations."""
    masks = [mask(*numbers) for numbers in product((1, 2, 2**31), (0, 1, 2), (0, 1, 2**16))]
    shifted = [each.flatten().roll(shift).view(each.shape) for each in masks[:3] for shift in (1, 2, 1024)]
    for one, first in enumerate(masks):
        for other in (*masks[one + 1 :], *(shifted if one < 3 else ())):
            assert (first == other).double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 200)


def test_a_seats_mask_does_not_depend_on_the_others() -> None:
    seeds, draws = torch.tensor([[5, 7], [1, 2], [5, 7]]), torch.tensor([3, 0, 3])
    probability = torch.tensor([0.2, 0.4, 0.0])
    together = keep_mask((6, 50), 9, seeds, draws, probability)
    for seat, rows in enumerate(together.split(2)):
        assert torch.equal(rows, keep_mask((2, 50), 9, seeds[seat], draws[seat], probability[seat]))
    assert together[4:].all(), "a probability of 0 drops nothing"
    assert not torch.equal(together[:2], together[2:4])


def test_noise_is_standard_normal_and_each_seats_own() -> None:
    seeds, draws = torch.tensor([seeds_of(1), seeds_of(2)]), torch.tensor([0, 7])
    together = noise((4, 3, 10_000), 4, seeds, draws)
    for seat, rows in enumerate(together.split(2)):
        assert torch.equal(rows, noise((2, 3, 10_000), 4, seeds[seat], draws[seat]))
        numbers = rows.double().flatten()
        assert numbers.mean().item() == pytest.approx(0, abs=5 / 60_000**0.5)
        assert numbers.var().item() == pytest.approx(1, abs=5 * (2 / 60_000) ** 0.5)
        assert (numbers.abs() < 1).double().mean().item() == pytest.approx(0.6827, abs=0.01)
        assert (numbers[:-1] * numbers[1:]).mean().item() == pytest.approx(0, abs=5 / 60_000**0.5)
    assert not torch.equal(together[:2], together[2:])
