"""The console command `tune-sa2va`. Turns an error of any command into one sentence and an exit code.

`tune-sa2va search ...` is `python -m tune_sa2va.search ...`, and likewise for each module in COMMANDS;
`python -m tune_sa2va` is `tune-sa2va`. Only the module of the given command is imported: torch and Ray take seconds to
load, and `tune-sa2va --help` needs neither.

Exit codes: 0 done, 1 a check failed or no trial succeeded, 2 wrong use or wrong input, 130 interrupted by Ctrl-C. Those
of an interrupted or paused search are in `search.job`. Every command takes --debug, which shows the traceback of an
error in place of the sentence.
"""

import io
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from tune_sa2va.distribution import package_version
from tune_sa2va.errors import UserError
from tune_sa2va.interruption import INTERRUPTED
from tune_sa2va.printable import printable
from tune_sa2va.utf8 import ensure_utf8_mode

COMMANDS = {
    "search": ("tune_sa2va.search.__main__", "Tune LoRA fine-tuning on your vessel images: the main job."),
    "report": ("tune_sa2va.report.__main__", "What a search did and found, as a page that opens offline."),
    "plan": (
        "tune_sa2va.plan.__main__",
        "What a search with the same flags would do and need, and where it would fail.",
    ),
    "status": ("tune_sa2va.status", "The state of a search, from its files: running, ended or killed."),
    "inspect": (
        "tune_sa2va.inspect.__main__",
        "Count the parameters of a model and its adapters; estimate their memory.",
    ),
    "doctor": ("tune_sa2va.doctor.__main__", "Is this machine ready? What is missing, and the cure."),
    "data": ("tune_sa2va.data.__main__", "Check a data set; save the frames of DICOM files."),
    "cache": ("tune_sa2va.cache.__main__", "Show or delete the cached features that all searches share."),
    "export": ("tune_sa2va.export", "Write a trial's adapter, during a search or after it."),
    "predict": ("tune_sa2va.predict.__main__", "Write masks and overlays of your images."),
    "evaluate": ("tune_sa2va.evaluate.__main__", "Score a model, tuned or not, on a data set."),
    "bench": ("tune_sa2va.bench.__main__", "Measure how fast this machine trains, and why."),
    "parity": ("tune_sa2va.parity", "Compare the model with tensors of the reference implementation."),
    "pretrain": ("tune_sa2va.pretrain.__main__", "Train the weights of the tiny model again (needs a GPU)."),
}
"""Name -> the module that holds its Typer `app`, and one line of help."""


def main() -> NoReturn:
    """Entry point of `tune-sa2va`."""
    ensure_utf8_mode()
    _replace_unencodable_letters()
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(_version())
        sys.exit(0)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1, cutoff=0.0)[0]
        say_error(f"tune-sa2va has no command {name!r}. The nearest one is {near!r}; tune-sa2va --help lists all.")
        sys.exit(2)
    try:
        app = import_module(COMMANDS[name][0]).app
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run(app, rest, program=f"tune-sa2va {name}")


def run(app: typer.Typer, arguments: list[str] | None = None, *, program: str | None = None) -> NoReturn:
    """Runs a module's command and exits; every `if __name__ == "__main__":` calls it.

    Three kinds of error are printed as one sentence, with exit code 2: a `UserError`, a flag or argument that the
    command does not take, and a file that cannot be read or written. Any other error is a bug and keeps its traceback.

    arguments: those of the command; None for `sys.argv`. program: the name to show in the help; None for the script's.
    """
    ensure_utf8_mode()
    _replace_unencodable_letters()
    command = get_command(app)
    debug = _DebugFlag(command)
    _mark_switches(command)
    try:
        exit_code = command.main(args=arguments, prog_name=program, standalone_mode=False)
    except UserError as error:
        if debug.is_given:
            raise
        say_error(str(error), error.anchor)
        sys.exit(2)
    except OSError as error:
        if debug.is_given or error.filename is None:
            raise
        say_error(f"{error.filename}: {error.strerror}. Check the path, who may read and write it, and the disk.")
        sys.exit(2)
    except TyperException as error:  # wrong use: an unknown flag, a missing argument, text for a number
        if error.format_message():  # empty where no argument was given and Typer has shown the help
            say_error(_wrong_use(error))
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(exit_code if isinstance(exit_code, int) else 0)


class _DebugFlag:
    """The option --debug of a command and of all its subcommands. Their functions do not see it."""

    def __init__(self, command: Any) -> None:
        """Adds the option to `command`. Typer makes options only from the signature of a function, so it gets one."""
        self.is_given = False

        def signature(
            debug: Annotated[
                bool,
                typer.Option("--debug", callback=self._note, is_eager=True, help="Show an error with its traceback."),
            ] = False,
        ) -> None: ...

        carrier = typer.Typer(add_completion=False)
        carrier.command()(signature)
        (parameter,) = get_command(carrier).params
        parameter.expose_value = False
        _add_parameter(command, parameter)

    def _note(self, value: bool) -> None:
        self.is_given = self.is_given or value


def _add_parameter(command: Any, parameter: Any) -> None:
    command.params.append(parameter)
    for subcommand in getattr(command, "commands", {}).values():
        _add_parameter(subcommand, parameter)


def _mark_switches(command: Any) -> None:
    """Writes "(no value)" into the help of every switch. Typer writes <bool>, as if true or false had to follow."""
    for parameter in command.params:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = "(no value)"
    for subcommand in getattr(command, "commands", {}).values():
        _mark_switches(subcommand)


def _replace_unencodable_letters() -> None:
    """Has the standard streams write ? for a letter that their encoding lacks, so that no command fails at one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _version() -> str:
    try:
        return f"tune-sa2va {package_version()}"
    except UserError as error:
        say_error(str(error), error.anchor)
        sys.exit(2)


def _wrong_use(error: TyperException) -> str:
    """The sentence for a command line that cannot be parsed."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}. {context.command_path if context else 'The command'} --help tells what is taken."


def say_error(message: str, anchor: str = UserError.anchor) -> None:
    """Prints `message` to stderr, with a section of docs/troubleshooting.md (`anchor`) in brackets.

    Control characters become escapes, so that a file's name cannot send commands to the terminal.
    """
    print(f"error[{anchor}]: {printable(message)}", file=sys.stderr)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: tune-sa2va COMMAND ...",
            "",
            *lines,
            "",
            "tune-sa2va COMMAND --help tells the options of each; tune-sa2va --version the version.",
        ]
    )
