"""Describes the machine of a measurement, and measures its peak speed and memory for comparison."""

import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch

_PACKAGES = ("torch", "transformers", "triton", "numpy")


def describe(device: torch.device) -> dict[str, Any]:
    """Versions and hardware."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    hardware: dict[str, Any] = {"platform": platform.platform(), "device": "cpu", "threads": torch.get_num_threads()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        hardware |= {"device": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        versions["cuda"] = str(torch.version.cuda)
    return {"versions": versions, "hardware": hardware}


def matmul_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a large square matrix product of random numbers: measured now, not taken from a data sheet."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / median_ms(lambda: a @ b, device, repeats=10) / 1e9


def median_ms(function: Callable[[], object], device: torch.device, *, repeats: int, warm_up: int = 3) -> float:
    """Median wall time of a call in milliseconds, the device's work included."""
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        function()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gib(device: torch.device) -> dict[str, float]:
    """Peak memory that the allocator reserved since the last reset, and memory used outside it; zeros on a CPU.

    Allocated memory is not reported, because tensors inside a replayed CUDA graph are not counted. outside: the
    context, kernels and graphs of this process, and everything of other processes.
    """
    if device.type != "cuda":
        return {"reserved_gib": 0.0, "outside_gib": 0.0}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "reserved_gib": round(torch.cuda.max_memory_reserved(device) / 2**30, 3),
        "outside_gib": round((total - free - torch.cuda.memory_reserved(device)) / 2**30, 3),
    }
