"""What the NVIDIA GPUs of this machine do, asked of `nvidia-smi`; nothing where there is none."""

import shutil
import subprocess
from dataclasses import dataclass

_TIMEOUT_S = 3.0
_FIELDS = "index,utilization.gpu,memory.used,memory.total"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: use in percent of the time, memory in GiB."""

    index: int
    use_percent: float
    used_gib: float
    total_gib: float

    @property
    def words(self) -> str:
        """One line."""
        return f"GPU {self.index}: {self.use_percent:.0f}% busy, {self.used_gib:.1f} of {self.total_gib:.1f} GiB"


def gpus_here() -> tuple[Gpu, ...]:
    """This machine's GPUs now; none where nvidia-smi is absent, fails, or does not answer within 3 s."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        command = [program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]  # our own words, no shell
        said = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse(said.stdout)


def parse(csv: str) -> tuple[Gpu, ...]:
    """The lines of `nvidia-smi --query-gpu`; one with a value that is not a number ("[N/A]") is left out."""
    found = []
    for line in csv.splitlines():
        try:
            index, use, used_mib, total_mib = (float(word) for word in line.split(","))
        except ValueError:
            continue
        found.append(Gpu(int(index), use, used_mib / 1024, total_mib / 1024))
    return tuple(found)
