"""The learning rate against values worked out by hand and torch's own schedulers."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from tune_sa2va.config import OptimizerSettings
from tune_sa2va.train.schedule import learning_rate


def test_by_hand() -> None:
    settings = OptimizerSettings(lr=0.6, warmup_fraction=0.25)
    found = [learning_rate(step, 8, settings) for step in range(8)]
    # Two warm-up steps towards 0.6, never 0; then six from 0.6 down half a cosine.
    assert found[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert found[3:] == pytest.approx([0.3 * (1 + math.cos(math.pi * k / 6)) for k in range(1, 6)])
    assert found[-1] > 0


@pytest.mark.parametrize(("total", "fraction"), [(20, 0.3), (20, 0.0), (1, 0.0), (7, 0.9), (3, 0.99)])
def test_as_torch_has_it(total: int, fraction: float) -> None:
    settings = OptimizerSettings(lr=2e-3, warmup_fraction=fraction)
    warmup = int(fraction * total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    cosine = CosineAnnealingLR(optimizer, T_max=total - warmup)
    if warmup:
        linear = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        scheduler = SequentialLR(optimizer, [linear, cosine], milestones=[warmup])
    else:
        scheduler = cosine
    for step in range(total):
        assert learning_rate(step, total, settings) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6), step
        optimizer.step()
        scheduler.step()
