"""Installed versions against the requirements and the lock file; GPUs in each state that users meet."""

import pytest
from packaging.requirements import Requirement

from tune_sa2va.doctor.finding import Severity
from tune_sa2va.doctor.gpus import Gpu, GpuState, judge_gpus
from tune_sa2va.doctor.software import check_packages, judge_lock, judge_python, judge_requirements, read_lock

OK, WARN, FAIL = Severity
H200 = Gpu("NVIDIA H200", (9, 0), free_gib=139.0, total_gib=139.8)
DRIVER = ("NVIDIA H200, 570.1",)


@pytest.mark.parametrize(("version", "severity"), [("3.11.7", OK), ("3.10.1", FAIL), ("3.14.0", FAIL)])
def test_python(version: str, severity: Severity) -> None:
    finding = judge_python(version, ">=3.11,<3.14")
    assert finding.severity is severity and version in finding.found


def test_requirements() -> None:
    needed = [Requirement("ray>=2.60,<2.61"), Requirement("torch>=2.11")]
    assert judge_requirements(needed, {"ray": "2.60.1", "torch": "2.12.0+cu128"}).severity is OK
    finding = judge_requirements(needed, {"ray": "2.59.0", "torch": None})
    assert finding.severity is FAIL
    assert "ray 2.59.0 is not" in finding.found and "torch is missing" in finding.found


def test_lock() -> None:
    pins = read_lock("# how it was written\ntorch==2.11.0\nray==2.60.0  # pinned\n\nabsent==1.0\n")
    assert pins == {"torch": "2.11.0", "ray": "2.60.0", "absent": "1.0"}
    assert judge_lock(pins, {"torch": "2.11.0+cu128", "ray": "2.60.0", "absent": None}).severity is OK
    finding = judge_lock(pins, {"torch": "2.12.0", "ray": "2.60.0", "absent": None})
    assert finding.severity is WARN and finding.found == "torch 2.12.0, tested 2.11.0"


def test_many_other_versions_are_counted() -> None:
    pins = {f"package{number}": "1" for number in range(10)}
    finding = judge_lock(pins, dict.fromkeys(pins, "2"))
    assert finding.found.endswith("and 6 more")


def test_the_packages_of_this_environment() -> None:
    assert check_packages()[0].severity is OK  # the tests run in it


def test_no_driver_is_a_warning() -> None:
    [finding] = judge_gpus(GpuState(None, None, ()))
    assert finding.severity is WARN and "tiny" in finding.cure


@pytest.mark.parametrize(
    ("cuda", "error", "found", "cure"),
    [
        (None, "", "torch is a CPU build", "Install torch for CUDA"),
        ("12.8", "", "torch with CUDA 12.8 sees none", "CUDA_VISIBLE_DEVICES"),
        ("12.8", "CUDA driver version is insufficient", "insufficient", "Update the driver"),
    ],
)
def test_cards_that_torch_cannot_use_are_a_failure(cuda: str | None, error: str, found: str, cure: str) -> None:
    finding = judge_gpus(GpuState(DRIVER, cuda, (), error))[-1]
    assert finding.severity is FAIL and found in finding.found and cure in finding.cure


@pytest.mark.parametrize(
    ("gpu", "severity", "cure"),
    [
        (H200, OK, ""),
        (Gpu("Tesla V100", (7, 0), 31.0, 32.0), WARN, "Ampere"),
        (Gpu("NVIDIA A100", (8, 0), 3.0, 80.0), WARN, "other processes"),
    ],
)
def test_each_card_has_its_line(gpu: Gpu, severity: Severity, cure: str) -> None:
    driver, cuda, line = judge_gpus(GpuState(DRIVER, "12.8", (gpu,)))
    assert (driver.severity, cuda.severity) == (OK, OK)
    assert line.severity is severity and gpu.name in line.found and cure in line.cure
