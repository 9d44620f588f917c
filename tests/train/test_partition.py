"""A partitioned function computes the same values and keeps less memory."""

import torch
from torch import Tensor

from tune_sa2va.train.live_bytes import LiveBytes
from tune_sa2va.train.partition import partitioned


def gated(x: Tensor, weight: Tensor) -> Tensor:
    """A chain of cheap functions between two products, as in the language model's MLP."""
    return (torch.nn.functional.silu(x @ weight) * torch.tanh(x @ weight)).exp().sin() @ weight


def test_same_numbers_and_gradients() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(64, 32, requires_grad=True), torch.randn(32, 32, requires_grad=True)
    found = []
    for function in (gated, partitioned(gated)):
        result = function(x, weight)
        found.append((result, *torch.autograd.grad(result.sum(), (x, weight))))
    for plain, cut in zip(*found, strict=True):
        torch.testing.assert_close(cut, plain, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(partitioned(gated)(x, weight), found[0][0], rtol=1e-4, atol=1e-4)


def test_keeps_less_for_the_backward() -> None:
    x, weight = torch.randn(4096, 32, requires_grad=True), torch.randn(32, 32, requires_grad=True)
    kept = []
    for function in (gated, partitioned(gated)):
        with LiveBytes([x, weight]) as live:
            result = function(x, weight)
            kept.append(live.live)
            result.sum().backward()
        x.grad = weight.grad = None
    assert kept[1] < 0.9 * kept[0]


def test_what_is_fused_takes_nothing() -> None:
    x, weight = torch.randn(4096, 32), torch.randn(32, 32)
    with torch.no_grad(), LiveBytes([x, weight]) as live:
        partitioned(gated)(x, weight)
    # The first product (of two identical ones) and the last product's input; then that input and the result.
    assert live.peak == 2 * x.nbytes
    with torch.no_grad(), LiveBytes([x, weight]) as eager:
        gated(x, weight)
    assert live.live == 0 and live.peak < eager.peak
