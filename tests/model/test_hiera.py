"""SAM2's encoder as functions of tensors equals transformers' forward and the golden outputs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tune_sa2va.config import EncoderSettings, FullModule, LoraSettings
from tune_sa2va.model.hiera import Hiera
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA

LORA = LoraSettings(r=2)
ALL = EncoderSettings(sam2="all", r=3, alpha_over_r=1.5)


def picture(model: Sa2VA, count: int = 2) -> torch.Tensor:
    side = model.dims.sam2.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def moved(model: Sa2VA, encoder: EncoderSettings, full: tuple[FullModule, ...] = ()) -> TrialAdapters:
    """Adapters with a B that is not zero."""
    adapters = TrialAdapters(model, LORA, full, seed=0, encoder=encoder)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in adapters.parameters.items():
            if ".lora_B." in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    return adapters


def test_with_b_zero_the_outputs_are_the_golden_ones(model: Sa2VA, golden_folder: Path) -> None:
    inputs, outputs = (load_file(golden_folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    adapters = TrialAdapters(model, LORA, ("neck",), seed=0, encoder=ALL)
    with torch.no_grad():
        found = Hiera(model, compiled=False).encode(inputs["g_pixel_values"], adapters.store.encoder_scale)
    adapters.detach()
    golden = [outputs[name] for name in ("sam_image_embed_no_mem", "sam_high_res_1", "sam_high_res_0")]
    projected = (found[0], *model.project_high_res(*found[1:]))
    for one, other in zip(projected, golden, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("encoder", [EncoderSettings(sam2="late", r=3), ALL])
def test_gradients_are_those_of_an_independent_run(model: Sa2VA, encoder: EncoderSettings, checkpointed: bool) -> None:
    """Compared with transformers' modules with weights W + scale B A; the chain rule gives A's and B's gradients."""
    pixels = picture(model)
    adapters = moved(model, encoder)
    store, names = adapters.store, [slot.name for slot in adapters.store.slots if slot.in_encoder]
    found = Hiera(model, compiled=False).encode(pixels, store.encoder_scale, checkpointed=checkpointed)
    sum_of = lambda levels: sum(level.square().mean() for level in levels)  # noqa: E731
    leaves = [store.leaves[name] for name in names]
    got = dict(zip(names, torch.autograd.grad(sum_of(found), leaves), strict=True))
    values = {name: leaf.detach().clone() for name, leaf in zip(names, leaves, strict=True)}
    adapters.detach()

    scale = encoder.lora_alpha / encoder.r
    modules = {name.removesuffix(".lora_A.weight") for name in names if name.endswith(".lora_A.weight")}
    weights = {}
    for name, parameter in model.named_parameters():
        reference = "base_model.model." + _reference(name).removesuffix(".weight")
        if reference in modules and name.endswith(".weight"):
            delta = values[f"{reference}.lora_B.weight"] @ values[f"{reference}.lora_A.weight"] * scale
            weights[name] = (reference, (parameter.detach() + delta).requires_grad_())
    assert len(weights) == len(modules)
    wanted = torch.func.functional_call(
        model.sam_vision,
        {name.removeprefix("sam_vision."): weight for name, (_, weight) in weights.items()},
        (pixels,),
    ).fpn_hidden_states
    independent = (wanted[2] + model.no_mem_embed.view(1, -1, 1, 1), wanted[1], wanted[0])
    for one, other in zip(found, independent, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    gradients = torch.autograd.grad(sum_of(independent), [weight for _, weight in weights.values()])
    for (reference, _), gradient in zip(weights.values(), gradients, strict=True):
        a, b = values[f"{reference}.lora_A.weight"], values[f"{reference}.lora_B.weight"]
        for part, expected in (("A", scale * b.T @ gradient), ("B", scale * gradient @ a.T)):
            one = got[f"{reference}.lora_{part}.weight"]
            torch.testing.assert_close(one, expected, rtol=1e-3, atol=1e-6)
            assert one.abs().max() > 0


def _reference(native: str) -> str:
    name = native.replace("sam_vision.backbone.", "grounding_encoder.sam2_model.image_encoder.trunk.")
    return name.replace("mlp.proj_in.", "mlp.layers.0.").replace("mlp.proj_out.", "mlp.layers.1.")


def test_the_modules_give_what_the_functions_give(model: Sa2VA) -> None:
    """Predictions run the modules, training runs the functions."""
    pixels = picture(model, 1)
    adapters = moved(model, ALL, ("neck",))
    with torch.no_grad():
        by_functions = Hiera(model, compiled=False).encode(pixels, adapters.store.encoder_scale)
        by_modules = model.encode_sam(pixels)
    adapters.detach()
    with torch.no_grad():
        before = model.encode_sam(pixels)
    for one, other, base in zip(by_functions, by_modules, before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(one, base, rtol=1e-3, atol=1e-3)
