"""The one place that asks `nvidia-smi`: torch would take half a GiB of each card for a question."""

import shutil
import subprocess


def query(*fields: str, timeout_s: float = 20.0) -> list[list[str]] | None:
    """A row of words a GPU, in the order of the driver: the values of `nvidia-smi --query-gpu`, without units.

    None where the command is missing, fails, or does not answer in time.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout_s)  # noqa: S603 - our own words
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
