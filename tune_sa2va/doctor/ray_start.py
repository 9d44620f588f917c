"""Whether Ray starts here: the very call of a search, in a process of its own, with one CPU and no GPU."""

import subprocess
import sys
import time

from tune_sa2va.doctor.finding import Finding, Severity

_LIMIT_S = 120
_START = (
    "import ray; from tune_sa2va.search.cluster import start_own_ray; "
    "start_own_ray(num_cpus=1, num_gpus=0); ray.shutdown()"
)


def check_ray() -> Finding:
    """Starts Ray and stops it again."""
    started = time.monotonic()
    cure = "Ray's own log, in /tmp/ray/session_latest/logs, says what it lacks."
    try:
        done = subprocess.run(  # noqa: S603 - our own words only
            [sys.executable, "-c", _START], capture_output=True, encoding="utf-8", errors="replace", timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return Finding(Severity.FAIL, "Ray", f"did not start within {_LIMIT_S} s", cure)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return Finding(Severity.FAIL, "Ray", f"does not start: {said[-1][:300]}", cure)
    return Finding(Severity.OK, "Ray", f"starts and stops in {time.monotonic() - started:.0f} s")
