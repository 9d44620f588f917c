"""Which kernels a training step spends its time in."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from tune_sa2va.bench.machine import synchronize

KINDS = (
    ("compiled", ("triton_",)),
    ("attention", ("fmha", "flash", "sdpa", "attention")),  # before products, whose library's types are in these names
    ("matrix products", ("nvjet", "gemm", "cutlass", "splitk", "::mm", "::bmm", "::addmm")),
    ("copies", ("memcpy", "memset", "copy")),
)
"""(kind, parts of kernels' names in lower case); the first that fits, and "other" if none does."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """kind: see KINDS. ms, launches: in one call."""

    name: str
    kind: str
    ms: float
    launches: float


def kernels_of(function: Callable[[], object], device: torch.device, *, calls: int = 5) -> list[Kernel]:
    """The kernels that `function` runs, the longest first.

    On a CPU: torch's operators instead of kernels. Call `function` before, so that nothing is compiled or captured.
    """
    on_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profiler:
        for _ in range(calls):
            function()
        synchronize(device)
    found = [
        Kernel(
            name=event.key,
            kind=kind_of(event.key),
            ms=(event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e3 / calls,
            launches=event.count / calls,
        )
        for event in profiler.key_averages()
        if not on_gpu or event.device_type == DeviceType.CUDA
    ]
    return sorted(found, key=lambda kernel: kernel.ms, reverse=True)


def kind_of(kernel: str) -> str:
    """The kind of a kernel, by its name."""
    name = kernel.lower()
    return next((kind for kind, parts in KINDS if any(part in name for part in parts)), "other")


def ms_by_kind(kernels: Sequence[Kernel]) -> dict[str, float]:
    """Milliseconds of one call by kind of kernel."""
    sums: dict[str, float] = defaultdict(float)
    for kernel in kernels:
        sums[kernel.kind] += kernel.ms
    return dict(sorted(sums.items(), key=lambda item: -item[1]))
