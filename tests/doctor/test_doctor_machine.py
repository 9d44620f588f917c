"""What the machine lacks is said with a cure, at the limit and beyond it."""

import os
import resource
from pathlib import Path

import pytest

from tune_sa2va.doctor.finding import Verdict, worst
from tune_sa2va.doctor.machine import (
    check_machine,
    judge_disk,
    judge_memory,
    judge_open_files,
    judge_ray_folder,
    judge_shared_memory,
)

OK, WARN, FAIL = Verdict


@pytest.mark.parametrize(("free_gib", "verdict"), [(100.0, OK), (20.0, OK), (19.9, WARN), (1.9, FAIL), (None, FAIL)])
def test_disk(free_gib: float | None, verdict: Verdict) -> None:
    finding = judge_disk("results", Path("/data"), free_gib)
    assert finding.verdict is verdict and "/data" in finding.found
    assert bool(finding.cure) is (verdict is not OK)


@pytest.mark.parametrize(("size_gib", "verdict"), [(4.0, OK), (0.0625, WARN), (None, WARN)])
def test_shared_memory(size_gib: float | None, verdict: Verdict) -> None:
    finding = judge_shared_memory(size_gib)
    assert finding.verdict is verdict
    if verdict is WARN:
        assert "--shm-size" in finding.cure


@pytest.mark.parametrize(
    ("soft", "hard", "verdict", "cure"),
    [
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, OK, ""),
        (65536, 65536, OK, ""),
        (1024, 65536, WARN, "ulimit -n 8192"),
        (256, 1024, FAIL, "limits.conf"),
    ],
)
def test_open_files(soft: int, hard: int, verdict: Verdict, cure: str) -> None:
    finding = judge_open_files(soft, hard)
    assert finding.verdict is verdict and cure in finding.cure


@pytest.mark.parametrize(("gib", "verdict"), [(64.0, OK), (4.0, WARN), (1.0, FAIL)])
def test_memory(gib: float, verdict: Verdict) -> None:
    assert judge_memory(gib).verdict is verdict


def test_rays_sockets_must_not_get_too_long_names(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    finding = judge_ray_folder(deep)
    assert finding.verdict is FAIL and "RAY_TMPDIR" in finding.cure
    assert judge_ray_folder(Path("/tmp")).verdict is OK


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert check_machine({"results": tmp_path / "results"})[0].verdict is FAIL


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_machine({"results": tmp_path / "file" / "results"})[0].verdict is FAIL


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    findings = check_machine({"results": tmp_path})
    subjects = [finding.subject for finding in findings]
    assert subjects == ["disk, results", "shared memory", "open files", "memory", "Ray's folder", "local network"]
    assert findings[-1].verdict is OK  # the tests themselves need 127.0.0.1


def test_the_gravest_counts() -> None:
    findings = [judge_memory(64.0), judge_memory(1.0), judge_memory(4.0)]
    assert worst(findings) is FAIL and worst(findings[:1]) is OK
