"""A limit on addresses that Ray cannot start under is said before it tries."""

import resource
import subprocess
import sys

import pytest

from tune_sa2va.preflight.address_space import address_space_fault, check_address_space

GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "memory", "fault"),
    [
        (resource.RLIM_INFINITY, 500 * GIB, ""),
        (6 * GIB, 20 * GIB, "ulimit -v allows a process 6.0 GiB of addresses, and Ray's reserve 11 GiB"),
        (12 * GIB, 20 * GIB, ""),
        (12 * GIB, 100 * GIB, "reserve 35 GiB"),
    ],
)
def test_the_limit_must_hold_rays_object_store(limit: int, memory: int, fault: str) -> None:
    found = address_space_fault(limit, memory)
    assert found.startswith(fault) or fault in found
    assert bool(found) is bool(fault)


def test_without_a_limit_nothing_is_said() -> None:
    check_address_space()


def test_a_process_under_a_limit_says_so() -> None:
    code = "from tune_sa2va.preflight.address_space import check_address_space; check_address_space()"
    shell = f"ulimit -v 4000000 && {sys.executable} -c '{code}'"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DeviceError: ulimit -v allows a process 3.8 GiB" in done.stderr and "ulimit -v unlimited" in done.stderr
