"""What Ray needs from the machine is checked before anything is written; one sentence names the variable to set."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.preflight.test_lane_memory import settings
from tune_sa2va.doctor import machine as doctor
from tune_sa2va.doctor.finding import Finding, Severity
from tune_sa2va.errors import DeviceError, UserError
from tune_sa2va.preflight import settings as preflight
from tune_sa2va.preflight.machine import check_machine_here


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_too_deep_for_sockets(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(deep))
    with pytest.raises(DeviceError, match=r"Ray's folder: .* 107 at most\. Set RAY_TMPDIR to a short path"):
        check_machine_here(None)
    check_machine_here("10.0.0.1:6379")  # no Ray starts here
    with pytest.raises(DeviceError, match="RAY_TMPDIR"):
        settings(tmp_path / "results", "smoke")
    assert not (tmp_path / "results").exists()


def test_a_missing_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    for variable in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(DeviceError, match=r"home folder: there is none, .* Set HOME to a folder of yours"):
        check_machine_here(None)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    check_machine_here(None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_what_another_user_has_made() -> None:
    """/tmp/ray belongs to the user who ran Ray here first, and the home folder to root, as in a container with
    --user."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("ray", "home"):
            (folder / each).mkdir(mode=0o755)
        ray, home = as_nobody(lambda: (doctor.judge_ray_folder(folder), doctor.judge_home({}, folder / "home")))
    assert ray.severity is home.severity is Severity.FAIL
    assert f"{folder}/ray cannot be written by you" in ray.found and "Set RAY_TMPDIR" in ray.cure
    assert f"{folder}/home cannot be written" in home.found and "Set HOME" in home.cure


def as_nobody(look: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """What another user sees, from a process of that user. It is a fork, since that user may not start this Python."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        seen = [(str(each.severity), each.subject, each.found, each.cure) for each in look()]
        os.write(theirs, json.dumps(seen).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        told = json.load(pipe)
    os.waitpid(child, 0)
    return tuple(Finding(Severity(severity), *rest) for severity, *rest in told)


def test_the_doctor_says_the_same() -> None:
    subjects = [finding.subject for finding in doctor.check_machine({})]
    assert [finding.subject for finding in doctor.what_ray_needs()] == subjects[-5:]
    assert "home folder" in subjects


def test_a_checkout_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from tune_sa2va.doctor.software import check_installed

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(UserError, match=r"is not installed, .* -m pip install -e "):
        settings(tmp_path / "results", "smoke")
    found = check_installed()
    assert found.severity is Severity.FAIL and "pip install -e" in found.cure


def test_plan_lists_it_among_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(preflight, "check_machine_here", seen.append)
    settings(tmp_path / "results", "smoke")
    assert seen == [None]


def test_a_process_under_a_limit_on_addresses_says_so() -> None:
    code = "from tune_sa2va.preflight.machine import check_machine_here; check_machine_here(None)"
    shell = f"ulimit -v 4000000 && {sys.executable} -c '{code}'"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DeviceError: address space: ulimit -v allows a process 3.8 GiB" in done.stderr
    assert "ulimit -v unlimited" in done.stderr
