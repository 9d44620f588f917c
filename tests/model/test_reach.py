"""`is_reached` agrees with a real backward pass."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_sa2va.config import FullModule, LoraSettings
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.reach import is_reached
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import NATIVE_FULL_MODULES, _linear_references


def any_loss(model: Sa2VA, *, lm_loss: bool) -> Tensor:
    """A loss that depends on everything that a trial's loss may depend on, since any of the masks may be chosen."""
    generator = torch.Generator().manual_seed(0)
    sam2, side = model.dims.sam2, model.dims.sam2.embed_side
    hidden = model.hidden_states(torch.randn(1, 6, model.dims.language_model.hidden_size, generator=generator))
    features = (torch.randn(1, sam2.d, scale * side, scale * side, generator=generator) for scale in (1, 2, 4))
    output = model.decode_masks(*features, model.seg_embeddings(hidden, torch.tensor([4])))
    loss = output.mask_logits.square().mean()
    return loss + F.cross_entropy(model.language_model.lm_head(hidden[0]), torch.arange(6)) if lm_loss else loss


def trained(model: Sa2VA) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("lm_loss", [False, True])
def test_adapters(model: Sa2VA, lm_loss: bool) -> None:
    linear = _linear_references(model)
    adapters = TrialAdapters(model, LoraSettings(r=2, target_modules=tuple(linear)), (), seed=0)
    try:
        with torch.no_grad():
            for name, parameter in trained(model).items():
                if "lora_B" in name:  # with B at zero, A has no gradient
                    parameter.fill_(0.01)
        any_loss(model, lm_loss=lm_loss).backward()
        found = {name.split(".lora_")[0] for name, value in trained(model).items() if has_gradient(value)}
        every = {name.split(".lora_")[0] for name in trained(model)}
    finally:
        adapters.detach()
    assert len(every) == len(linear)
    assert found == {name for name in every if is_reached(name, lm_loss=lm_loss)}
    assert 0 < len(found) < len(every)


def test_modules_in_full(model: Sa2VA) -> None:
    full: tuple[FullModule, ...] = ("mask_decoder", "text_hidden_fcs")
    adapters = TrialAdapters(model, LoraSettings(r=2, target_modules=("q_proj",)), full, seed=0)
    try:
        any_loss(model, lm_loss=False).backward()
        in_full = {
            name: v for name, v in trained(model).items() if name.startswith(tuple(NATIVE_FULL_MODULES.values()))
        }
        found = {name for name, value in in_full.items() if has_gradient(value)}
    finally:
        adapters.detach()
    assert found == {name for name in in_full if is_reached(name, lm_loss=False)}
    assert 0 < len(found) < len(in_full)


def has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())
