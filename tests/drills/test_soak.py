"""Hundreds of trials in two lanes: nothing grows with them but the records, and no trial waits longer than before."""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.drills.searches import Ground, family, num_epochs
from tune_sa2va.results.records import read_epochs, read_trials

TRIALS, LANES = 300, 2
SAMPLE_S = 2.0
WARM_UP_TRIALS, COOL_DOWN_TRIALS = 60, 10
MIB = 2**20

MIB_PER_100_TRIALS = {"driver": 25.0, "workers": 5.0, "owners": 5.0}
"""What may come on top with each hundred trials. Tune's driver holds every trial with its results."""

ROLES = {"RayTrainWorker": "workers", "_Inner": "owners"}
"""Name of a process -> whose it is. Ray's own services are not ours to bound."""


@dataclass(frozen=True)
class Sample:
    """One look at the processes of one role: memory that is theirs alone, open files, processor time up to now."""

    trials: int
    mib: float
    files: int
    cpu_s: float


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with Ground.prepare(tmp_path, images=6) as ground:
        yield ground


@pytest.mark.slow  # 300 trials: eight minutes on two busy cores
@pytest.mark.timeout(3600)
def test_three_hundred_trials_leave_memory_files_and_turnaround_as_they_were(ground: Ground) -> None:
    search = ground.start("soak", trials=TRIALS, epochs=1, lanes=LANES)
    results, samples = ground.results("soak"), defaultdict[str, list[Sample]](list)
    while search.poll() is None:
        done = num_epochs(results)
        for role, processes in _by_role(search).items():
            if len(processes) == (1 if role == "driver" else LANES):
                samples[role].append(_look(done, processes))
        time.sleep(SAMPLE_S)
    assert search.returncode == 0, ground.said("soak")
    assert len(read_trials(results)) == TRIALS

    for role, limit in MIB_PER_100_TRIALS.items():
        # Before are imports and the first allocations; at the end lanes leave, and the test part is scored.
        flat = [sample for sample in samples[role] if WARM_UP_TRIALS <= sample.trials < TRIALS - COOL_DOWN_TRIALS]
        slope = 100 * float(np.polyfit([s.trials for s in flat], [s.mib for s in flat], 1)[0])
        thirds = flat[: len(flat) // 3], flat[-len(flat) // 3 :]
        files = [int(np.median([s.files for s in third])) for third in thirds]
        cpu_s = [(third[-1].cpu_s - third[0].cpu_s) / (third[-1].trials - third[0].trials) for third in thirds]
        print(
            f"{role}: {flat[0].mib:.0f} to {flat[-1].mib:.0f} MiB, {slope:+.1f} MiB in 100 trials; files {files}; "
            f"processor time a trial {cpu_s[0]:.2f} s in the first third, {cpu_s[1]:.2f} s in the last one"
        )
        assert slope < limit, role
        assert files[1] <= files[0] + 2, role
        assert cpu_s[1] < 1.5 * cpu_s[0] + 0.2, role

    early_s, late_s = _turnarounds(results)
    print(f"turnaround: {early_s:.2f} s in the first third, {late_s:.2f} s in the last one")
    assert late_s < 2 * early_s + 0.5  # wider: other work on the machine moves it


def _by_role(search: psutil.Popen) -> dict[str, list[psutil.Process]]:
    found = defaultdict[str, list[psutil.Process]](list, {"driver": [search]})
    for process in family(search):
        try:
            name = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        for part, role in ROLES.items():
            if part in name:
                found[role].append(process)
    return found


def _look(trials: int, processes: list[psutil.Process]) -> Sample:
    mib, files, cpu_s = 0.0, 0, 0.0
    for process in processes:
        try:
            memory = process.memory_info()
            mib += (memory.rss - memory.shared) / MIB
            files += process.num_fds()
            cpu_s += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return Sample(trials, mib, files, cpu_s)


def _turnarounds(results: Path) -> tuple[float, float]:
    """Median seconds between two epochs of a lane, each the only one of its trial, in the first and the last third."""
    gaps = []
    for _, own in read_epochs(results).sort_values("ended_at").groupby("lane"):
        between_s = own["ended_at"].diff().dt.total_seconds() - own["seconds"]
        gaps += list(zip(own["ended_at"], between_s, strict=True))[1:]
    ordered = [between_s for _, between_s in sorted(gaps)]
    third = len(ordered) // 3
    return float(np.median(ordered[:third])), float(np.median(ordered[-third:]))
