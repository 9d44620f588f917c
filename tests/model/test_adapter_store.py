"""An adapter's dropout equals torch's, and matrices are stored without overlap."""

import pytest
import torch
import torch.nn.functional as F

from tune_sa2va.model.adapter_store import AdapterStore, Slot

CPU = torch.device("cpu")


def a_store(dropout: float = 0.3) -> AdapterStore:
    store = AdapterStore([Slot("a", (2, 4), low=True, rank_dim=0)], 2, device=CPU, dtype=torch.float32)
    store.dropout.fill_(dropout)
    store.is_dropping = True
    return store


def test_dropout_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's own mask the values are the same: kept ones are divided by the probability of being kept."""
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    wanted = F.dropout(x, 0.3)
    store = a_store()
    monkeypatch.setattr(store.__class__, "keep", lambda *_: wanted != 0)
    torch.testing.assert_close(store.drop(x, 0), wanted)
    store.is_dropping = False
    assert store.drop(x, 0) is x


def test_so_many_are_kept() -> None:
    kept = a_store(0.3).keep((400, 500), 0).double().mean().item()
    assert kept == pytest.approx(0.7, abs=5 * (0.3 * 0.7 / 200_000) ** 0.5)


def test_matrices_do_not_overlap_and_a_rank_is_its_first_rows_or_columns() -> None:
    slots = [Slot("a", (4, 5), low=True, rank_dim=0), Slot("b", (70, 4), low=True, rank_dim=1)]
    store = AdapterStore([*slots, Slot("head", (3,), low=False)], 4, device=CPU, dtype=torch.float32)
    assert store.numel == 64 + 5 * 64 + 64, "each starts at a multiple of 64"
    store.values.copy_(torch.arange(store.numel, dtype=torch.float32))
    views = store.views(store.values, 3)
    assert torch.equal(views["a"], torch.arange(15.0).view(3, 5))
    assert torch.equal(views["b"], (64 + torch.arange(280.0)).view(70, 4)[:, :3])
    assert torch.equal(views["head"], 384 + torch.arange(3.0))
    assert all(leaf.data_ptr() == store.views(store.values, 4)[name].data_ptr() for name, leaf in store.leaves.items())
