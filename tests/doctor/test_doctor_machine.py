"""What the machine lacks is reported with a cure, at the limit and beyond it."""

import os
import resource
from pathlib import Path

import pytest

from tune_sa2va.doctor.finding import Severity, worst
from tune_sa2va.doctor.machine import (
    check_machine,
    judge_address_space,
    judge_disk,
    judge_memory,
    judge_open_files,
    judge_ray_folder,
    judge_shared_memory,
)

OK, WARN, FAIL = Severity


@pytest.mark.parametrize(("free_gib", "severity"), [(100.0, OK), (20.0, OK), (19.9, WARN), (1.9, FAIL), (None, FAIL)])
def test_disk(free_gib: float | None, severity: Severity) -> None:
    finding = judge_disk("results", Path("/data"), free_gib)
    assert finding.severity is severity and "/data" in finding.found
    assert bool(finding.cure) is (severity is not OK)


@pytest.mark.parametrize(("size_gib", "severity"), [(4.0, OK), (0.0625, WARN), (None, WARN)])
def test_shared_memory(size_gib: float | None, severity: Severity) -> None:
    finding = judge_shared_memory(size_gib)
    assert finding.severity is severity
    if severity is WARN:
        assert "--shm-size" in finding.cure


@pytest.mark.parametrize(
    ("soft", "hard", "severity", "cure"),
    [
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, OK, ""),
        (65536, 65536, OK, ""),
        (1024, 65536, WARN, "ulimit -n 8192"),
        (256, 1024, FAIL, "limits.conf"),
    ],
)
def test_open_files(soft: int, hard: int, severity: Severity, cure: str) -> None:
    finding = judge_open_files(soft, hard)
    assert finding.severity is severity and cure in finding.cure


@pytest.mark.parametrize(("gib", "severity"), [(64.0, OK), (4.0, WARN), (1.0, FAIL)])
def test_memory(gib: float, severity: Severity) -> None:
    assert judge_memory(gib).severity is severity


@pytest.mark.parametrize(
    ("limit_gib", "memory_gib", "found"),
    [
        (6, 20, "ulimit -v allows a process 6.0 GiB of address space, and Ray's processes reserve 11 GiB"),
        (12, 20, ""),
        (12, 100, "reserve 35 GiB"),
    ],
)
def test_a_limit_on_addresses_must_hold_rays_object_store(limit_gib: int, memory_gib: int, found: str) -> None:
    finding = judge_address_space(limit_gib * 2**30, memory_gib * 2**30)
    assert found in finding.found and finding.severity is (FAIL if found else OK)
    assert bool(finding.cure) is bool(found)
    assert judge_address_space(resource.RLIM_INFINITY, 2**40).severity is OK


def test_rays_sockets_must_not_get_too_long_names(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    finding = judge_ray_folder(deep)
    assert finding.severity is FAIL and "RAY_TMPDIR" in finding.cure
    assert judge_ray_folder(Path("/tmp")).severity is OK


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert check_machine({"results": tmp_path / "results"})[0].severity is FAIL


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_machine({"results": tmp_path / "file" / "results"})[0].severity is FAIL


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    findings = check_machine({"results": tmp_path})
    subjects = [finding.subject for finding in findings]
    needed = ["open files", "address space", "Ray's folder", "home folder", "local network"]
    assert subjects == ["disk, results", "shared memory", "memory", *needed]
    assert findings[-1].severity is OK  # the tests themselves need 127.0.0.1


def test_the_gravest_counts() -> None:
    findings = [judge_memory(64.0), judge_memory(1.0), judge_memory(4.0)]
    assert worst(findings) is FAIL and worst(findings[:1]) is OK
