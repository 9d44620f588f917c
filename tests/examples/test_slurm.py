"""The SLURM script as a shell runs it: SIGTERM before its time is over stops the search, requeues it, and it goes on.

SLURM's own commands, Ray and Python are stand-ins that note what they were called with; shell, signals and processes
are real.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.documents.blocks import ROOT

STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then echo node1; else echo "scontrol $*" >> "$CALLS"; fi',
    "srun": 'if [ "${*: -2:1}" = hostname ]; then echo 10.0.0.1; fi',
    "sleep": ":",
    "python": f'exec {sys.executable} "$SEARCH" "$@"',
}

SEARCH = """
import os, signal, sys, time
with open(os.environ["CALLS"], "a") as calls:
    calls.write("python " + " ".join(sys.argv[1:]) + "\\n")
    calls.flush()
    def stop(number, frame):
        time.sleep(0.5)  # it puts its records away
        calls.write(f"stopped by {signal.Signals(number).name}\\n")
        calls.flush()
        os._exit(128 + number)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    time.sleep(float(os.environ["LASTS_S"]))
sys.exit(int(os.environ["ENDS_WITH"]))
"""


class Job:
    """The script with its stand-ins, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.shared, self.calls = folder / "shared", folder / "calls"
        (self.shared / "tune_sa2va" / ".venv" / "bin").mkdir(parents=True)
        (self.shared / "tune_sa2va" / ".venv" / "bin" / "activate").touch()
        (folder / "bin").mkdir()
        for name, body in STAND_INS.items():
            (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "search.py").write_text(SEARCH)
        script = (ROOT / "examples" / "slurm.sh").read_text(encoding="utf-8")
        self.script = folder / "slurm.sh"
        self.script.write_text(script.replace("/shared/tuner", str(self.shared)))
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(self.calls),
            "SEARCH": str(folder / "search.py"), "SLURM_JOB_NODELIST": "node1", "SLURM_NNODES": "1",
            "SLURM_JOB_ID": "77",
        }  # fmt: skip

    def start(self, *, lasts_s: float, ends_with: int = 0) -> subprocess.Popen[bytes]:
        more = {"LASTS_S": str(lasts_s), "ENDS_WITH": str(ends_with)}
        return subprocess.Popen(["bash", str(self.script)], env=self.environment | more)

    def said(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def wait_for_the_search(self) -> None:
        deadline = time.monotonic() + 60
        while not any(line.startswith("python") for line in self.said()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)  # its handlers


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_signal_stops_the_search_in_order_and_requeues_the_job(job: Job) -> None:
    script = job.start(lasts_s=60)
    job.wait_for_the_search()
    script.send_signal(signal.SIGTERM)  # to the shell alone, as --signal=B: does
    assert script.wait(30) == 143
    started, stopped, requeued = job.said()
    assert "tune_sa2va.search --data" in started and "--address 10.0.0.1:6379" in started
    assert (stopped, requeued) == ("stopped by SIGTERM", "scontrol requeue 77")


def test_the_requeued_job_goes_on_with_what_is_there(job: Job) -> None:
    (job.shared / "results" / "vessels").mkdir(parents=True)
    assert job.start(lasts_s=0).wait(60) == 0
    (started,) = job.said()
    assert f"--resume {job.shared}/results/vessels --address 10.0.0.1:6379" in started


@pytest.mark.parametrize("code", [0, 1, 75])
def test_a_search_that_ends_by_itself_is_not_requeued(job: Job, code: int) -> None:
    assert job.start(lasts_s=0, ends_with=code).wait(60) == code
    assert len(job.said()) == 1


def test_slurm_is_asked_for_the_signal_that_the_script_takes() -> None:
    script = (ROOT / "examples" / "slurm.sh").read_text(encoding="utf-8")
    assert "#SBATCH --signal=B:TERM@300\n" in script and "#SBATCH --requeue\n" in script
    assert "' TERM\n" in script
