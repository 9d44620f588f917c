"""`python -m tune_sa2va.plan`: takes the flags of a search and tells what that search would do, take and fail at.

Exit codes: 0 the search can run, 1 it would fail (every reason found is printed).
"""

import inspect
import json
from typing import Annotated, Any

import typer

from tune_sa2va.search.__main__ import main as search_command

app = typer.Typer(add_completion=False)

_NOT_PLANNED = ("context", "resume", "trust", "quiet", "mlflow", "wandb", "report")
"""Parameters of the search command that a plan does not take."""


def main(
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="Do not run 20 steps to estimate how long the search will take.")
    ] = False,
    card: Annotated[
        str | None,
        typer.Option(
            help="Plan for --gpus cards of this kind instead of this machine's: H100, A100-40, ..., or the GiB of "
            "memory of one. This machine needs no GPU then.",
            metavar="KIND|GIB",
            show_default="this machine's",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
    **flags: Any,
) -> None:
    """Show what a search with these flags would do, and everything that would make it fail. Runs no search.

    It shows lanes, trials, what ASHA is expected to stop, memory, cache, disk and time. The time is estimated from 20
    steps of the search's first trial on a few of the images, for which the model is loaded.
    """
    from rich.console import Console  # heavy imports are inside functions, so that --help is quick

    from tune_sa2va.plan.forecast import look
    from tune_sa2va.plan.show import show, to_plain
    from tune_sa2va.preflight.cards import card_of
    from tune_sa2va.preflight.flags import Flags

    kind = None if card is None else card_of(card)
    forecast = look(Flags.of(flags), with_probe=not no_probe, codes=flags["codes"], card=kind)
    if as_json:
        print(json.dumps(to_plain(forecast), indent=2))
    else:
        show(Console(highlight=False), forecast)
    raise typer.Exit(1 if forecast.problems else 0)


def _with_flags_of_the_search() -> Any:
    """`main` with the options of the search command added to its signature, so that they are declared only once."""
    own = [one for one in inspect.signature(main).parameters.values() if one.kind is not one.VAR_KEYWORD]
    theirs = [one for name, one in inspect.signature(search_command).parameters.items() if name not in _NOT_PLANNED]
    parameters = [one.replace(kind=one.KEYWORD_ONLY) for one in (*theirs, *own)]
    command: Any = main
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


app.command()(_with_flags_of_the_search())

if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
