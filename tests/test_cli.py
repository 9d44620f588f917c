"""The console command: quick help, one sentence for an error, the exit codes."""

import os
import subprocess
import sys
from importlib import import_module, metadata
from typing import Annotated

import pytest
import typer

from tune_sa2va.cli import COMMANDS, run
from tune_sa2va.errors import UserError
from tune_sa2va.interruption import signals_as_interrupts


def tune_sa2va(*arguments: str) -> subprocess.CompletedProcess[str]:
    call = "import sys; from tune_sa2va.cli import main; sys.argv[0] = 'tune-sa2va'; main()"
    return subprocess.run([sys.executable, "-c", call, *arguments], capture_output=True, text=True, timeout=120)


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise error

    return app


def exit_code_of(error: BaseException) -> object:
    with pytest.raises(SystemExit) as caught:
        run(app_that_raises(error), [])
    return caught.value.code


def test_help_lists_every_command() -> None:
    shown = tune_sa2va("--help")
    assert shown.returncode == 0
    assert [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")] == list(COMMANDS)


def test_help_imports_neither_torch_nor_ray() -> None:
    call = "import sys, tune_sa2va.cli; print(sorted({'torch', 'ray', 'optuna', 'pandas'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_the_app_of_its_module(name: str) -> None:
    assert isinstance(import_module(COMMANDS[name][0]).app, typer.Typer)


def test_a_command_gets_the_rest_of_the_line() -> None:
    shown = tune_sa2va("data", "check", "/nowhere/at/all")
    assert shown.returncode == 2
    assert "/nowhere/at/all" in shown.stderr and "Traceback" not in shown.stderr


def test_an_unknown_command_names_the_nearest() -> None:
    shown = tune_sa2va("serach")
    assert shown.returncode == 2
    assert shown.stderr == (
        "error[flags]: tune-sa2va has no command 'serach'. The nearest one is 'search'; tune-sa2va --help lists all.\n"
    )


def test_no_command_is_wrong_use() -> None:
    assert tune_sa2va().returncode == 2


def test_a_user_error_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(UserError("x.yaml: lora.r must be >= 1, got 0.")) == 2
    assert capsys.readouterr().err == "error[flags]: x.yaml: lora.r must be >= 1, got 0.\n"


def test_a_file_that_the_system_refuses_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(PermissionError(13, "Permission denied", "a/b.csv")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error[flags]: a/b.csv: Permission denied. Check the path") and said.count("\n") == 1


def test_a_name_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(UserError("\x1b[2J.png: bad"))
    assert capsys.readouterr().err == "error[flags]: \\x1b[2J.png: bad\n"


@pytest.mark.parametrize("arguments", [["--debug", "only", "x"], ["only", "--debug", "x"], ["only", "x", "--debug"]])
def test_the_traceback_of_a_user_error_shows_when_asked_for(arguments: list[str]) -> None:
    app = typer.Typer()

    @app.callback()
    def group() -> None: ...

    @app.command()
    def only(name: str) -> None:
        raise UserError(name)

    with pytest.raises(UserError, match="x"):
        run(app, arguments)
    with pytest.raises(SystemExit):
        run(app, ["only", "x"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--count", "many"], "'--count'"),
        (["--cuont", "3"], "--cuont (Possible options: --count)"),
        ([], "Missing option '--count'"),
        (["--count", "3", "left over"], "left over"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def command(count: Annotated[int, typer.Option()]) -> None:
        raise AssertionError("was run")

    with pytest.raises(SystemExit) as left:
        run(app, arguments, program="tune-sa2va it")
    assert left.value.code == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.endswith("tune-sa2va it --help tells what is taken.\n")
    assert shown.err.count("\n") == 1 and shown.out == ""


def test_our_own_mistakes_keep_their_traceback() -> None:
    for error in (ZeroDivisionError(), OSError("without a file")):
        with pytest.raises(type(error)):
            run(app_that_raises(error), [])


def test_interrupted_and_exit_codes() -> None:
    assert exit_code_of(KeyboardInterrupt()) == 130
    assert exit_code_of(typer.Exit(1)) == 1


def test_the_version_is_said() -> None:
    shown = tune_sa2va("--version")
    assert (shown.returncode, shown.stdout) == (0, f"tune-sa2va {metadata.version('tune-sa2va')}\n")


def test_python_m_lists_the_commands_too() -> None:
    call = [sys.executable, "-m", "tune_sa2va", "--help"]
    shown = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert (shown.returncode, shown.stdout) == (0, tune_sa2va("--help").stdout)


def test_a_switch_takes_no_value_and_its_help_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def command(
        quiet: Annotated[bool, typer.Option("--quiet")] = False, figures: bool = True, name: str = "x"
    ) -> None: ...

    with pytest.raises(SystemExit):
        run(app, ["--help"])
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "--" in line}
    for switch in ("--quiet", "--figures", "--debug"):
        assert "(no value)" in lines[switch] and "bool" not in lines[switch]
    assert "(no value)" not in lines["--name"]
    with pytest.raises(SystemExit) as left:
        run(app, ["--quiet", "true"])
    assert left.value.code == 2


def test_a_signal_that_ends_a_command_is_its_exit_code() -> None:
    app = typer.Typer()

    @app.command()
    def command(number: int) -> None:
        with signals_as_interrupts():
            os.kill(os.getpid(), number)

    for number, code in ((15, 143), (1, 129), (2, 130)):
        with pytest.raises(SystemExit) as left:
            run(app, [str(number)])
        assert left.value.code == code
