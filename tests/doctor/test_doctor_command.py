"""The command prints one line per check within 80 columns, the same as JSON, and exits with 1 if a check fails."""

import json
from pathlib import Path

import pytest

from tune_sa2va.cli import run
from tune_sa2va.doctor.__main__ import app
from tune_sa2va.doctor.finding import Severity
from tune_sa2va.doctor.ray_start import check_ray


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as left:
        run(app, list(arguments))
    return left.value.code, capsys.readouterr().out


def test_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = doctor(capsys, "--quick", "--out", str(tmp_path))
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert code == (1 if any(line.startswith("FAIL") for line in lines) else 0)
    assert any(line.startswith("OK") and "Python" in line for line in lines)


def test_json_and_exit_1_on_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code, out = doctor(capsys, "--quick", "--json", "--out", str(tmp_path / "file" / "results"))
    said = json.loads(out)
    assert code == 1 and said["severity"] == "FAIL"
    [failed] = [check for check in said["checks"] if check["subject"] == "disk, results"]
    assert failed["severity"] == "FAIL" and "--out" in failed["cure"]


@pytest.mark.slow  # starts Ray: 5 to 20 s
def test_ray_starts() -> None:
    assert check_ray().severity is Severity.OK
