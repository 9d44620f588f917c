"""How far layers and gradients over a base in fp8 are from those over the same base in bf16, and both from fp32."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tune_sa2va.bench.images import MadeUpImages
from tune_sa2va.config import RECIPE, ModelSettings
from tune_sa2va.model.encoding import release_encoders
from tune_sa2va.model.fp8 import Fp8Weight, fp8_linear, groups_of
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.workbench import open_model

KINDS = ("qkv", "out", "gate_up", "down")
"""The groups of `groups_of`, in their order."""
_ROWS = 288
"""Tokens of an image of 512x512 with its question, rounded up as in training."""


def compare_layers(model: Sa2VA) -> list[dict[str, Any]]:
    """A row per layer and kind: output and gradient of one product in fp8 against bf16, for normal random inputs.

    model: a base in bf16. The error is that of the whole matrix, relative in the Frobenius norm.
    """
    generator = torch.Generator(model.no_mem_embed.device).manual_seed(0)
    rows = []
    for number, layer in enumerate(model.language_model.model.layers):
        for kind, group in zip(KINDS, groups_of(layer), strict=True):
            weight = torch.cat([linear.weight.detach() for linear in group]).bfloat16()
            x, gradient = (
                torch.randn(_ROWS, width, device=weight.device, generator=generator).bfloat16()
                for width in (weight.shape[1], weight.shape[0])
            )
            exact = _both_ways(partial(F.linear, weight=weight), x, gradient)
            found = _both_ways(partial(fp8_linear, weight=Fp8Weight.of(weight, 2), bias=None), x, gradient)
            row: dict[str, Any] = {"layer": number, "kind": kind}
            for name, a, b in zip(("forward", "backward"), found, exact, strict=True):
                row |= {f"{name}_error": _relative_error(a, b), f"{name}_cosine": _cosine(a, b)}
            rows.append(row)
    return rows


def compare_gradients(name: str, device: torch.device, *, side_px: int) -> list[dict[str, Any]]:
    """A row per layer: cosine between gradients of all LoRA B matrices over three bases, of one image of `side_px`.

    At the start B is zero, and so is the gradient of A. fp32 is the bf16 base computed in fp32: `bf16_fp32` shows how
    much of a difference is due to bf16 itself.
    """
    base = open_model(ModelSettings(model=name, precision="bf16"), device)
    release_encoders(base)
    found = {"bf16": _b_gradients(base, name, side_px)}
    found["fp32"] = _b_gradients(base.float(), name, side_px)
    del base
    quantised = open_model(ModelSettings(model=name, precision="fp8"), device)
    release_encoders(quantised)
    found["fp8"] = _b_gradients(quantised, name, side_px)
    pairs = (("fp8", "bf16"), ("fp8", "fp32"), ("bf16", "fp32"))
    return [
        {"layer": layer} | {f"{a}_{b}": _cosine(found[a][layer], found[b][layer]) for a, b in pairs}
        for layer in found["bf16"]
    ]


def _b_gradients(model: Sa2VA, name: str, side_px: int) -> dict[str, Tensor]:
    """The gradients of the B matrices of each layer of the language model as one vector, and those outside it."""
    engine = Engine(model, eager=True)
    stepper = engine.stepper(RECIPE)
    adapters = TrialAdapters(model, RECIPE.lora, RECIPE.train.full_modules, seed=0, store=stepper.store)
    stepper.reset(RECIPE.loss, RECIPE.optimizer)
    source = MadeUpImages.make(model, name, height=side_px, width=side_px, count=1)
    (fed,) = engine.feed(with_answer=False).whole(source, [0], batch_size=1)
    stepper.accumulate(fed.batch, fed.shape, share=1.0)
    gradients = stepper.store.views(stepper.optimizer.gradients[:-1], stepper.store.rank)
    layers: dict[str, list[Tensor]] = {}
    for key, gradient in gradients.items():
        if key.endswith("lora_B.weight"):
            layers.setdefault(_layer_of(key), []).append(gradient.flatten().cpu())
    adapters.detach()
    engine.forget()
    return {layer: torch.cat(parts) for layer, parts in layers.items()}


def _layer_of(key: str) -> str:
    """The number of the language model's layer that an adapter is in, or "outside"."""
    _, found, rest = key.partition("language_model.model.layers.")
    return rest.partition(".")[0] if found else "outside"


def _both_ways(function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    output = function(leaf)
    (back,) = torch.autograd.grad(output, leaf, gradient)
    return output.detach(), back


def _relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact.float()).norm() / exact.float().norm())


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))
