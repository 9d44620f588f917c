"""The layers as functions of tensors equal transformers' forward, in every family."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tune_sa2va.config import LoraSettings
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.families.qwen_vl import VisualContext
from tune_sa2va.model.fused_layers import FusedLayers, Projection, project
from tune_sa2va.model.lora import TrialAdapters, make_store
from tune_sa2va.model.sa2va import Sa2VA


@pytest.fixture(scope="module")
def own_model(golden_folder: Path) -> Sa2VA:
    """A model of its own, as merging turns weights into views."""
    return load_model(golden_folder, device=torch.device("cpu"), dtype=torch.float32)


def embeds_and_rows(model: Sa2VA) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 13, model.dims.language_model.hidden_size, generator=generator), torch.tensor(
        [[9, 3], [12, 0]]
    )


def test_rows_are_those_of_the_whole_forward(own_model: Sa2VA) -> None:
    embeds, rows = embeds_and_rows(own_model)
    with torch.no_grad():
        whole = own_model.hidden_states(embeds)
        found = FusedLayers(own_model, compiled=False).hidden_rows(embeds, rows, None)
        assert torch.equal(own_model.hidden_states(embeds), whole)  # merging changed no weight
    torch.testing.assert_close(found, whole[torch.arange(2)[:, None], rows], rtol=1e-5, atol=1e-5)


def test_qwen3_vl_with_deepstack(qwen3_vl_folder: Path) -> None:
    model = load_model(qwen3_vl_folder, device=torch.device("cpu"), dtype=torch.float32)
    embeds, rows = embeds_and_rows(model)
    width = model.dims.language_model.hidden_size
    deepstack = torch.randn(2, 2, 6, width, generator=torch.Generator().manual_seed(4))
    context = VisualContext(2, (2, 3), deepstack)
    with torch.no_grad():
        whole = model.hidden_states(embeds, context)
        found = FusedLayers(model, compiled=False).hidden_rows(embeds, rows, None, context)
    torch.testing.assert_close(found, whole[torch.arange(2)[:, None], rows], rtol=1e-5, atol=1e-5)


TARGETS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")


def test_adapters_act_as_in_the_modules(own_model: Sa2VA) -> None:
    layers = FusedLayers(own_model, compiled=False)
    embeds, rows = embeds_and_rows(own_model)
    adapters = TrialAdapters(own_model, LoraSettings(r=4, target_modules=TARGETS), (), seed=0)
    with torch.no_grad():
        for value in adapters.parameters.values():
            value.add_(0.02)
    leaves = list(adapters.store.leaves.values())
    whole = own_model.hidden_states(embeds)[torch.arange(2)[:, None], rows]
    wanted = torch.autograd.grad(whole.square().sum(), leaves, allow_unused=True)
    for checkpointed in (False, True):
        found = layers.hidden_rows(embeds, rows, adapters.store, checkpointed=checkpointed)
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
        for one, other in zip(
            torch.autograd.grad(found.square().sum(), leaves, allow_unused=True), wanted, strict=True
        ):
            if other is None:
                assert one is None
            else:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    adapters.detach()


def test_checkpointing_repeats_the_same_dropout(own_model: Sa2VA) -> None:
    layers = FusedLayers(own_model, compiled=False)
    embeds, rows = embeds_and_rows(own_model)
    settings = LoraSettings(r=4, dropout=0.4, target_modules=TARGETS)
    adapters = TrialAdapters(own_model, settings, (), seed=0, store=make_store(own_model, settings, (), rank=4))
    with torch.no_grad():
        for value in adapters.parameters.values():
            value.add_(0.02)
    adapters.train(True)
    leaves = [leaf for name, leaf in adapters.store.leaves.items() if "language_model" in name]
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(1)
        loss = layers.hidden_rows(embeds, rows, adapters.store, checkpointed=checkpointed).square().sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    adapters.detach()
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_merged_products_dropout_is_torchs() -> None:
    """W x + b + scale B A dropout(x) of each module. Modules with the same input share one mask of torch's dropout."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    x, weight, bias, scale = drawn(2, 5, 12), drawn(15, 12), drawn(15), torch.tensor(1.7)
    first, third = (drawn(3, 12), drawn(6, 3)), (drawn(2, 12), drawn(5, 2))
    torch.manual_seed(1)
    dropped = F.dropout(x, 0.4)
    projection = Projection(weight, bias, (6, 4, 5), (first, None, third))
    plain = F.linear(x, weight, bias).split((6, 4, 5), dim=-1)
    for read, keep in ((dropped, dropped != 0), (x, None)):
        found = project(projection, x, scale, keep, torch.tensor(0.4))
        for output, base, pair in zip(found, plain, projection.adapters, strict=True):
            wanted = base if pair is None else base + scale * (read @ pair[0].T @ pair[1].T)
            torch.testing.assert_close(output, wanted)


def test_dropout_is_off_in_evaluation(own_model: Sa2VA) -> None:
    layers = FusedLayers(own_model, compiled=False)
    embeds, rows = embeds_and_rows(own_model)
    adapters = TrialAdapters(own_model, LoraSettings(r=4, dropout=0.4, target_modules=TARGETS), (), seed=0)
    with torch.no_grad():
        for value in adapters.parameters.values():
            value.add_(0.02)
        adapters.train(True)
        dropped = layers.hidden_rows(embeds, rows, adapters.store)
        adapters.train(False)
        found = [layers.hidden_rows(embeds, rows, adapters.store) for _ in range(2)]
    adapters.detach()
    assert torch.equal(*found) and not torch.equal(found[0], dropped)
