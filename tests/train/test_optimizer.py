"""FlatAdamW against torch's own AdamW and clipping, and the steps that it skips."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tune_sa2va.config import OptimizerSettings
from tune_sa2va.model.adapter_store import AdapterStore, Slot
from tune_sa2va.train.optimizer import FlatAdamW

SETTINGS = OptimizerSettings(weight_decay=0.1, max_grad_norm=1.5)
LRS = (3e-2, 1e-2, 5e-2, 2e-2)
SLOTS = (
    Slot("a", (3, 5), low=True, rank_dim=0),
    Slot("b", (70, 3), low=True, rank_dim=1),
    Slot("head", (7,), low=False),
)

Loss = Callable[[dict[str, Tensor]], Tensor]


def store_of(dtype: torch.dtype = torch.float32) -> AdapterStore:
    """A store of random values whose slots are padded for alignment."""
    store = AdapterStore(SLOTS, 3, device=torch.device("cpu"), dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for view in store.views(store.values, 3).values():
            view.copy_(torch.randn(view.shape, generator=generator))
    store.refresh()
    return store


def optimizer_of(store: AdapterStore, settings: OptimizerSettings = SETTINGS) -> FlatAdamW:
    optimizer = FlatAdamW(store, compiled=False)
    optimizer.reset(settings)
    return optimizer


def values_of(store: AdapterStore) -> dict[str, Tensor]:
    return {name: view.clone() for name, view in store.views(store.values, 3).items()}


def pull(strength: float) -> Loss:
    """Pulls values towards 1. Across STRENGTHS, the gradient's norm lies below and above max_grad_norm."""
    return lambda leaves: strength * sum((leaf.float() - 1).square().sum() for leaf in leaves.values())


STRENGTHS = (1.0, 1e-3, 0.3, 1e-2)


def test_steps_are_those_of_torch() -> None:
    store = store_of()
    optimizer = optimizer_of(store)
    own = [torch.nn.Parameter(value) for value in values_of(store).values()]
    torchs = torch.optim.AdamW(own, weight_decay=SETTINGS.weight_decay)
    norms = []
    for lr, strength in zip(LRS, STRENGTHS, strict=True):
        optimizer.lr.fill_(lr)
        for _ in range(2):  # gradients add up until the step
            optimizer.accumulate(pull(strength / 2)(store.leaves))
        optimizer.step()
        torchs.param_groups[0]["lr"] = lr
        torchs.zero_grad()
        pull(strength)(dict(enumerate(own))).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(own, SETTINGS.max_grad_norm)))
        torchs.step()
        for name, mine, theirs in zip(values_of(store), values_of(store).values(), own, strict=True):
            torch.testing.assert_close(mine, theirs.detach(), rtol=1e-5, atol=1e-6, msg=name)
    assert min(norms) < SETTINGS.max_grad_norm < max(norms), "clipped and not"
    assert optimizer.norm_sum.item() == pytest.approx(sum(norms), rel=1e-5)


def test_no_decay_and_no_step_where_no_loss_reaches() -> None:
    store = store_of()
    optimizer = optimizer_of(store)
    optimizer.lr.fill_(0.1)
    before = values_of(store)
    optimizer.accumulate(store.leaves["a"].square().sum() + 0.0 * store.leaves["b"].sum())
    optimizer.spare_unreached()
    optimizer.step()
    after = values_of(store)
    assert torch.equal(after["head"], before["head"])
    # Reached with a gradient of 0: only weight decay changes it.
    torch.testing.assert_close(after["b"], before["b"] * (1 - 0.1 * SETTINGS.weight_decay))
    assert not torch.equal(after["a"], before["a"])
    optimizer.reset(SETTINGS)
    assert optimizer.decays.all(), "the next trial may reach it"


@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_step_that_is_not_finite_changes_nothing_and_does_not_count(where: str) -> None:
    spoilt, clean = store_of(), store_of()
    spoilt_optimizer, clean_optimizer = optimizer_of(spoilt), optimizer_of(clean)
    failures = []
    for number, (lr, strength) in enumerate(zip(LRS, STRENGTHS, strict=True)):
        for store, optimizer in ((spoilt, spoilt_optimizer), (clean, clean_optimizer)):
            optimizer.lr.fill_(lr)
            optimizer.accumulate(pull(strength)(store.leaves))
            optimizer.step()
        if number in (1, 2):
            spoilt_optimizer.accumulate(pull(1.0)(spoilt.leaves))
            spoilt_optimizer.gradients[3 if where == "gradient" else -1] = torch.nan if number == 1 else torch.inf
            spoilt_optimizer.step()
            failures.append(spoilt_optimizer.failure.clone())
    assert torch.equal(spoilt.values, clean.values)
    assert torch.equal(spoilt_optimizer.exp_avg, clean_optimizer.exp_avg)
    assert torch.equal(spoilt_optimizer.exp_avg_sq, clean_optimizer.exp_avg_sq)
    assert spoilt_optimizer.steps.item() == clean_optimizer.steps.item() == len(LRS)
    assert clean_optimizer.failure.tolist() == [0.0, 0.0, 0.0]
    first, second = failures  # NaN, then infinity: the first failure is kept
    assert first[0] == 1.0 and first[2 if where == "gradient" else 1].isnan()
    torch.testing.assert_close(second, first, equal_nan=True)


def test_modules_compute_with_the_new_values_in_the_bases_dtype() -> None:
    store = store_of(torch.bfloat16)
    optimizer = optimizer_of(store)
    optimizer.lr.fill_(0.1)
    optimizer.accumulate(pull(1.0)(store.leaves))
    gradients = store.views(optimizer.gradients[:-1], 3)
    for name, leaf in store.leaves.items():
        torch.testing.assert_close(gradients[name], 2 * (leaf.detach().float() - 1), rtol=2e-2, atol=2e-2)
    optimizer.step()
    values = values_of(store)
    assert store.leaves["b"].dtype == torch.bfloat16 and store.leaves["head"].dtype == torch.float32
    assert all(torch.equal(leaf, values[name].to(leaf.dtype)) for name, leaf in store.leaves.items())


def test_a_smaller_rank_leaves_the_padding_alone() -> None:
    store = store_of()
    optimizer = optimizer_of(store)
    moments = optimizer.moments(2)
    shapes = {"a": (2, 5), "b": (70, 2), "head": (7,)}
    assert {name: tuple(view.shape) for name, view in moments.items()} == {
        f"{name}|{moment}": shape for moment in ("exp_avg", "exp_avg_sq") for name, shape in shapes.items()
    }
    saved = {name: torch.full_like(view, number + 1.0) for number, (name, view) in enumerate(moments.items())}
    optimizer.load_moments(saved, 2, steps=17)
    assert optimizer.steps.item() == 17
    assert all(torch.equal(view, saved[name]) for name, view in optimizer.moments(2).items())
    assert not optimizer.moments(3)["a|exp_avg"][2].any() and not optimizer.moments(3)["b|exp_avg_sq"][:, 2].any()
