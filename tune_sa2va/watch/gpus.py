"""Use and memory of this machine's NVIDIA GPUs, from `nvidia-smi`."""

from dataclasses import dataclass

from tune_sa2va.nvidia_smi import query

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. use_percent: share of time in which it was busy, in [0, 100]."""

    index: int
    use_percent: float
    used_gib: float
    total_gib: float

    @property
    def words(self) -> str:
        """Use and memory, in one line."""
        return f"GPU {self.index}: {self.use_percent:.0f}% busy, {self.used_gib:.1f} of {self.total_gib:.1f} GiB"


def gpus_here() -> tuple[Gpu, ...]:
    """This machine's GPUs now; empty if the driver does not answer within 3 s. A GPU without numbers is left out."""
    found = []
    for words in query("index", "utilization.gpu", "memory.used", "memory.total", timeout_s=_TIMEOUT_S) or []:
        try:
            index, use, used_mib, total_mib = (float(word) for word in words)
        except ValueError:  # "[N/A]"
            continue
        found.append(Gpu(int(index), use, used_mib / 1024, total_mib / 1024))
    return tuple(found)
