"""The one place that calls `nvidia-smi`. To ask torch would take half a GiB of each card."""

import shutil
import subprocess


def query(*fields: str, timeout_s: float = 20.0) -> list[list[str]] | None:
    """The values of `nvidia-smi --query-gpu` as text without units: a row per GPU, in the driver's order.

    None if the command is missing, fails, or does not answer within `timeout_s` seconds.
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
