"""Whether Ray starts here: makes the same call as a search, in a separate process, with one CPU and no GPU."""

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
    """The finding about starting and stopping Ray, which takes seconds."""
    started = time.monotonic()
    cure = "Read Ray's logs, in /tmp/ray/session_latest/logs, for the reason."
    try:
        done = subprocess.run(  # noqa: S603 - no argument comes from outside
            [sys.executable, "-c", _START], capture_output=True, encoding="utf-8", errors="replace", timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return Finding(Severity.FAIL, "Ray", f"did not start within {_LIMIT_S} s", cure)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it printed no error"]
        return Finding(Severity.FAIL, "Ray", f"does not start: {said[-1][:300]}", cure)
    return Finding(Severity.OK, "Ray", f"starts and stops in {time.monotonic() - started:.0f} s")
