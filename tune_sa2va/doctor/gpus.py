"""The GPUs as torch sees them, and the driver as `nvidia-smi` reports it."""

from dataclasses import dataclass

from tune_sa2va.doctor.finding import Finding, Severity
from tune_sa2va.nvidia_smi import query
from tune_sa2va.words import count

_OLDEST_WITH_BF16 = (8, 0)
_SMALLEST_GIB = 20.0
"""With less free memory the 8B model does not fit: its weights alone take 15 GiB."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card as torch sees it. capability: (major, minor)."""

    name: str
    capability: tuple[int, int]
    free_gib: float
    total_gib: float


@dataclass(frozen=True, slots=True)
class GpuState:
    """The driver, torch's CUDA and the cards of a machine.

    driver_lines: one line of `nvidia-smi` per card; None if the command is missing or fails. cuda: the CUDA version
    that torch was built with; None for a CPU build. error: why torch cannot use the cards; empty if it can.
    """

    driver_lines: tuple[str, ...] | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    error: str = ""


def check_gpus() -> list[Finding]:
    """The findings about driver, CUDA and each card of this machine."""
    return judge_gpus(_look())


def judge_gpus(state: GpuState) -> list[Finding]:
    """The findings about driver, CUDA and each card of a machine in this state."""
    if state.driver_lines is None:
        return [
            Finding(
                Severity.WARN,
                "GPU",
                "no NVIDIA driver: nvidia-smi is missing or fails",
                "Searches run on the CPU, which is only enough for --model tiny. To use a GPU, install its driver; in "
                "a container: docker run --gpus all.",
            )
        ]
    findings = [Finding(Severity.OK, "driver", "; ".join(state.driver_lines) or "no card")]
    if not state.gpus:
        reason = state.error or (f"torch with CUDA {state.cuda} sees none" if state.cuda else "torch is a CPU build")
        cure = (
            "Update the driver to one that supports this CUDA version, and check CUDA_VISIBLE_DEVICES."
            if state.cuda
            else "Install torch for CUDA: see https://pytorch.org/get-started/locally."
        )
        return [*findings, Finding(Severity.FAIL, "CUDA", f"the driver has cards but {reason}", cure)]
    findings.append(Finding(Severity.OK, "CUDA", f"{state.cuda}, {count(len(state.gpus), 'GPU')}"))
    return [*findings, *(_judge_gpu(number, gpu) for number, gpu in enumerate(state.gpus))]


def _judge_gpu(number: int, gpu: Gpu) -> Finding:
    found = f"{gpu.name}, {gpu.free_gib:.1f} of {gpu.total_gib:.1f} GiB free"
    if gpu.capability < _OLDEST_WITH_BF16:
        major, minor = gpu.capability
        cure = "bf16 is slow or missing before compute capability 8.0 (Ampere): use a newer card."
        return Finding(Severity.WARN, f"GPU {number}", f"{found}, compute capability {major}.{minor}", cure)
    if gpu.free_gib < _SMALLEST_GIB:
        cure = "The 8B model needs more: end other processes on it (nvidia-smi lists them), or use a smaller model."
        return Finding(Severity.WARN, f"GPU {number}", found, cure)
    return Finding(Severity.OK, f"GPU {number}", found)


def _look() -> GpuState:
    import torch  # takes seconds, so it comes after the checks that do not need it

    cuda = torch.version.cuda
    try:
        gpus = tuple(_gpu(number) for number in range(torch.cuda.device_count()))
    except RuntimeError as error:  # the driver is too old, or another process uses the card exclusively
        return GpuState(_driver_lines(), cuda, (), str(error).splitlines()[0])
    return GpuState(_driver_lines(), cuda, gpus)


def _gpu(number: int) -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    return Gpu(properties.name, (properties.major, properties.minor), free / 2**30, total / 2**30)


def _driver_lines() -> tuple[str, ...] | None:
    listed = query("name", "driver_version")
    return None if listed is None else tuple(", ".join(words) for words in listed)
