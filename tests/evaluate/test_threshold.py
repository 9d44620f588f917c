"""The histogram's counts are those of masks thresholded one by one, and the best threshold of the grid is chosen."""

import math

import pytest
import torch

from tune_sa2va.evaluate.metrics import count, mean_scores
from tune_sa2va.evaluate.threshold import GRID, choose_threshold, counts_at, histogram


def image(seed: int, *, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that correlate with the truth, some of them exactly at thresholds of the grid."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(37, 53, generator=generator) < 0.2
    logits = torch.randn(37, 53, generator=generator) + 2.0 * truth + shift
    logits[0, : len(GRID[::2])] = torch.tensor([math.log(t / (1 - t)) for t in GRID[::2]])
    return logits, truth


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_masks_cut_one_by_one(seed: int) -> None:
    logits, truth = image(seed)
    found = histogram(logits, truth).numpy()
    for threshold in GRID:
        edge = torch.tensor(math.log(threshold / (1 - threshold)))
        assert counts_at(found, threshold) == count((logits > edge).numpy(), truth.numpy()), threshold
    assert counts_at(found, 0.5) == count((logits > 0).numpy(), truth.numpy())


def test_the_best_of_the_grid_is_chosen() -> None:
    images = [image(seed, shift=-1.5) for seed in range(4)]
    chosen = choose_threshold([histogram(*each).numpy() for each in images])

    def dice_at(threshold: float) -> float:
        edge = math.log(threshold / (1 - threshold))
        return mean_scores([count((logits > edge).numpy(), truth.numpy()) for logits, truth in images]).dice

    assert dice_at(chosen) == max(dice_at(threshold) for threshold in GRID) > dice_at(0.5)
    assert chosen < 0.5


def test_among_equals_the_one_nearest_to_half() -> None:
    truth = torch.zeros(4, 4, dtype=torch.bool)
    truth[1] = True
    logits = torch.where(truth, 9.0, -9.0)
    assert choose_threshold([histogram(logits, truth).numpy()]) == 0.5


def test_nothing_to_score_keeps_the_default() -> None:
    assert choose_threshold([]) == 0.5
