"""Every bad input: a non-zero exit, one sentence that names the thing and the cure, no traceback, nothing written."""

import hashlib
import re
import sys
import tempfile
from pathlib import Path

import pytest

from tune_sa2va import cli
from tune_sa2va.errors import UserError

from .adapters import ADAPTERS
from .case import Case
from .checkpoints import CHECKPOINTS
from .flags import FLAGS
from .lists import LISTS
from .pictures import PICTURES
from .results_folders import RESULTS_FOLDERS
from .spaces import SPACES

CORPUS = [*SPACES, *FLAGS, *PICTURES, *LISTS, *CHECKPOINTS, *ADAPTERS, *RESULTS_FOLDERS]

TROUBLESHOOTING = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
LINES = TROUBLESHOOTING.read_text().splitlines()
SECTIONS = [line[3:].lower().replace(" ", "-") for line in LINES if line[:3] == "## "]
ANCHORS = "|".join(SECTIONS)


def test_every_kind_of_error_has_its_section() -> None:
    kinds = [UserError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
        assert kind.anchor in SECTIONS, kind


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a case writes its input; everything that a command could write to by default lies in it, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # of which only the length of names is looked at
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def content_of(folder: Path) -> dict[Path, str]:
    """Every file, folder and link below `folder` with its kind, size and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            found[path] = "folder" if path.is_dir() else "other"
        else:
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_a_bad_input(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = case.make(folder)
    before = content_of(folder)
    monkeypatch.setattr(sys, "argv", ["tune-sa2va", *line])
    with pytest.raises(SystemExit) as left:
        cli.main()
    shown = capsys.readouterr()
    assert left.value.code == case.exit_code, shown
    for part in case.says:
        assert part in shown.out + shown.err, shown
    assert "Traceback" not in shown.out + shown.err
    if case.exit_code == 2:
        assert re.match(rf"error\[({ANCHORS})\]: ", shown.err) and shown.err.endswith(".\n"), shown
        assert shown.err.count("\n") == 1, shown
        assert shown.out == ""
    assert content_of(folder) == before


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_flag_that_no_command_has(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tune-sa2va", name, "--no-such-flag"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error[flags]: ") and "--no-such-flag" in shown.err and shown.err.count("\n") == 1
    assert f"tune-sa2va {name} --help" in shown.err and shown.out == ""
    assert content_of(folder) == {}


def test_the_corpus_is_large_and_each_case_has_a_name_of_its_own() -> None:
    assert len(CORPUS) >= 60
    assert len({case.name for case in CORPUS}) == len(CORPUS)
