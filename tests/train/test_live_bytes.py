"""Counts each storage once, from its creation to its release, rounded up as the CUDA allocator does."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tune_sa2va.train.live_bytes import LiveBytes, total_bytes


def test_peak_and_what_is_left() -> None:
    with LiveBytes() as live:
        kept = torch.zeros(1000)  # 4,000 bytes, 4,096 in blocks
        gone = torch.ones(3000)
        assert live.live == 4096 + 12288
        del gone
        assert live.live == 4096
    assert live.peak == 4096 + 12288
    assert total_bytes([kept]) == 4096


def test_views_and_writes_in_place_take_nothing() -> None:
    before = torch.zeros(512)
    with LiveBytes([before]) as live:
        before.add_(1)
        view = before.view(2, 256)[0]
    assert live.peak == 0
    assert total_bytes([before, view]) == 2048


def test_what_autograd_keeps_lives_until_the_backward() -> None:
    x = torch.ones(256, requires_grad=True)
    with LiveBytes([x]) as live:
        y = x.exp()  # keeps its own result
        loss = y.sum()
        del y
        assert live.live == 1024 + 512
        loss.backward()
        del loss
        assert live.live == 1024  # the gradient


def test_fake_tensors_take_as_much_as_real_ones_would() -> None:
    def run() -> int:
        with LiveBytes() as live:
            torch.softmax(torch.zeros(300, 300) @ torch.zeros(300, 300), dim=1)
        return live.peak

    real = run()
    with FakeTensorMode():
        assert run() == real > 0
