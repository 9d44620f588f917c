"""Quantisation and its products, against the same matrices in fp32."""

import pytest
import torch

from tune_sa2va.config import Fp8Copies
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.fp8 import LARGEST, Fp8Weight, fp8_linear, quantise_rows
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.locate import model_folder

CPU = torch.device("cpu")


def test_an_error_is_at_most_half_a_step_of_the_type() -> None:
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * torch.logspace(-12, 12, 64)[:, None]
    quantised, scale = quantise_rows(x)
    error = (quantised.float() * scale[:, None] - x).abs()
    largest = x.abs().amax(dim=1, keepdim=True)
    assert (error <= torch.maximum(x.abs() / 16, largest * 2**-10 / LARGEST) * 1.0001).all()
    assert torch.equal(quantised.float().abs().amax(dim=1), torch.full((64,), LARGEST))


def test_zeros_stay_zeros_and_nan_shows() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")], [1e-25, -2e-25]])
    quantised, scale = quantise_rows(x)
    back = quantised.float() * scale[:, None]
    assert torch.equal(back[0], torch.zeros(2))
    assert back[1].isnan().any() and back[2].isnan().any()
    assert torch.allclose(back[3], x[3], rtol=1 / 16)


@pytest.mark.parametrize("copies", [1, 2])
def test_products_are_those_of_the_dequantised_matrices_in_both_directions(copies: Fp8Copies) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(48, 32, generator=generator), torch.randn(48, generator=generator)
    x = torch.randn(2, 5, 32, generator=generator, requires_grad=True)
    gradient = torch.randn(2, 5, 48, generator=generator)
    gradient[1, 2] = 0
    own = Fp8Weight.of(weight, copies)
    output = fp8_linear(x, own, bias)
    (found,) = torch.autograd.grad(output, x, gradient)

    def rounded(values: torch.Tensor) -> torch.Tensor:
        quantised, scale = quantise_rows(values.flatten(0, -2))
        return (quantised.float() * scale[:, None]).view_as(values)

    assert torch.allclose(output, rounded(x.detach()) @ rounded(weight).t() + bias, atol=1e-4)
    if copies == 2:
        expected = rounded(gradient) @ rounded(weight.t()).t()
    else:
        quantised, scale = quantise_rows(weight)
        expected = rounded(gradient * scale) @ quantised.float()
    assert torch.allclose(found, expected, atol=1e-4)
    assert len(own.tensors) == 2 * copies
    assert torch.equal(found[1, 2], torch.zeros(32))
    assert own.shape == weight.shape


@pytest.mark.parametrize(("copies", "compiled"), [(2, False), (2, True), (1, False), (1, True)])
def test_a_base_in_8_bits_holds_no_other_copy_and_computes_nearly_the_same(copies: Fp8Copies, compiled: bool) -> None:
    embeds = torch.randn(1, 24, 192, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = []
    for quantised in (None, copies):
        model = load_model(model_folder("tiny"), device=CPU, dtype=torch.float32, fp8_copies=quantised)
        named = model.language_model.model.layers.named_parameters()
        assert all(weight.is_meta == bool(quantised) for name, weight in named if "proj.w" in name)
        layers = FusedLayers(model, compiled=False)
        if compiled:
            layers._attend = torch.compile(layers._attend, backend="aot_eager", fullgraph=True)
            layers._feed_forward = torch.compile(layers._feed_forward, backend="aot_eager", fullgraph=True)
        rows = layers.hidden_rows(embeds, torch.tensor([[23]]), None)
        found.append((rows.detach(), *torch.autograd.grad(rows.square().sum(), embeds)))
    for exact, rounded in zip(*found, strict=True):
        assert 0 < (exact - rounded).norm() / exact.norm() < 0.15
