"""`python -m tune_sa2va.data check`: exit codes, whole file names, and names that try to be markup."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tune_sa2va import cli
from tune_sa2va.data.__main__ import app

from .making import FORMS, SHAPE, picture, rectangle_mask, save, save_images, save_pair


def run(path: Path) -> Result:
    return CliRunner().invoke(app, ["check", str(path), "--show-names"])


@pytest.mark.parametrize("form", FORMS)
def test_clean(tmp_path: Path, form: str) -> None:
    save_images(tmp_path)
    result = run(FORMS[form](tmp_path))
    assert result.exit_code == 0, result.output
    assert "error" not in result.output
    assert "24 to 24" in result.output
    assert "32 to 32" in result.output


def test_errors(tmp_path: Path) -> None:
    save_pair(tmp_path, "a.png", 0)
    save(tmp_path / "images" / "b.png", picture(1))
    save(tmp_path / "masks" / "c.png", rectangle_mask((0, 0, 2, 2)))
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "2 errors, 0 warnings" in result.output
    assert "images/b.png" in result.output
    assert "masks/c.png" in result.output


def test_warnings_alone_exit_0(tmp_path: Path) -> None:
    save_pair(tmp_path, "a.png", 0)
    save_pair(tmp_path, "b.png", 1, np.zeros(SHAPE, dtype=bool))
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "0 errors, 1 warning" in result.output
    assert "images/b.png" in result.output


def test_nothing_left_to_use_exits_1(tmp_path: Path) -> None:
    save_pair(tmp_path, "b.png", 1, np.zeros(SHAPE, dtype=bool))
    assert run(tmp_path).exit_code == 1


def test_no_such_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.run(app, ["check", str(tmp_path / "nowhere")])
    assert left.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"error[data]: {tmp_path / 'nowhere'}: there is no such file or folder. Check the path.\n"


def test_joined_groups_are_told(tmp_path: Path) -> None:
    save_pair(tmp_path, "a.png", 0)
    save_pair(tmp_path, "b.png", 0)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "groups images/a.png, images/b.png are joined to images/a.png" in result.output


def test_long_names_are_whole_when_not_on_a_terminal(tmp_path: Path) -> None:
    names = [f"{letter * 200}.png" for letter in "xy"]
    for name in names:
        save(tmp_path / "images" / name, picture(0))
    (tmp_path / "masks").mkdir()
    result = run(tmp_path)
    for name in names:
        assert f"images/{name}" in result.output


@pytest.mark.parametrize("name", ["[red]a[/red].png", "[/].png", "[link=x]a.png", ":smile:.png"])
def test_markup_in_names_is_data(tmp_path: Path, name: str) -> None:
    save_pair(tmp_path, "a.png", 0)
    save(tmp_path / "images" / name.replace("/", "∕"), picture(1))
    result = run(tmp_path)
    assert result.exit_code == 1
    assert name.replace("/", "∕") in result.output


def test_markup_in_a_manifest_is_data(tmp_path: Path) -> None:
    save_pair(tmp_path, "a.png", 0)
    (tmp_path / "manifest.csv").write_text("image,mask,split\nimages/a.png,masks/a.png,[/bold]\n")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "'[/bold]'" in result.output


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    save_pair(tmp_path, "a.png", 0)
    for name in ("\x1b[31mred.png", "line\nbreak.png", "\u202egnp.png"):
        save(tmp_path / "images" / name, picture(1))
    result = run(tmp_path)
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    for shown in ("\\x1b[31mred.png", "line\\nbreak.png", "\\u202egnp.png"):
        assert f"images/{shown}" in result.output


def test_check_stays_a_subcommand() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "check" in result.output
