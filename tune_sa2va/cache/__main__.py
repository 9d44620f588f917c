"""The feature cache from the command line: `python -m tune_sa2va.cache ls` and `rm`."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tune_sa2va.cache.listing import CachedBase, beyond, cached_bases, older_than, remove
from tune_sa2va.cache.place import features_folder
from tune_sa2va.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """The frozen encoders' features of images, kept between searches in $TUNE_SA2VA_CACHE (~/.cache/tune_sa2va)."""


@app.command("ls")
def ls() -> None:
    """Show each base model's features: pictures, GiB, when last used, and how many requested ones are missing."""
    bases = cached_bases(features_folder())
    if not bases:
        print(f"{features_folder()}: no features yet.")
        return
    table = Table()
    for header in ("model", "id", "dtype", "levels", "pictures", "missing", "GiB", "last used", "in use"):
        table.add_column(header, justify="right" if header in ("pictures", "missing", "GiB") else "left", no_wrap=True)
    for base in bases:
        table.add_row(
            base.model, base.base, base.dtype, "raw" if base.raw_high_res else "projected", f"{base.pictures:,}",
            "complete" if base.is_complete else f"{base.missing:,} of {base.wanted:,}", _gib(base.num_bytes),
            f"{datetime.fromtimestamp(base.last_used_s).astimezone():%Y-%m-%d %H:%M}", "yes" if base.in_use else "no",
        )  # fmt: skip
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)
    print(f"{_gib(sum(base.num_bytes for base in bases))} GiB in {features_folder()}")


@app.command("rm")
def rm(
    base: Annotated[
        str | None, typer.Option(help="Features of the base model with this id (its beginning is enough).")
    ] = None,
    all_bases: Annotated[bool, typer.Option("--all", help="Features of every base model.")] = False,
    older_than_days: Annotated[
        float | None, typer.Option("--older-than", min=0, metavar="DAYS", help="Features not used for this many days.")
    ] = None,
    down_to: Annotated[
        float | None,
        typer.Option(min=0, metavar="GIB", help="The least recently used, until the rest takes at most this many GiB."),
    ] = None,
) -> None:
    """Delete features without asking, and print what was freed. Features that a running process uses are kept; the exit
    code is then 1.

    Deleted features are encoded again when a search needs them.
    """
    if sum((base is not None, all_bases, older_than_days is not None, down_to is not None)) != 1:
        raise UserError("Give one of --base ID, --all, --older-than DAYS and --down-to GIB.")
    found = cached_bases(features_folder())
    chosen = found
    if base is not None:
        chosen = [each for each in found if base and each.base.startswith(base)]
        if not chosen:
            raise UserError(
                f"--base {base}: no features of a base model with this id. python -m tune_sa2va.cache ls shows the ids."
            )
    elif older_than_days is not None:
        chosen = older_than(found, older_than_days)
    elif down_to is not None:
        chosen = beyond(found, down_to)
    all_removed = _remove_and_print(chosen)
    raise typer.Exit(0 if all_removed else 1)


def _remove_and_print(chosen: list[CachedBase]) -> bool:
    freed, kept = 0, []
    for each in chosen:
        bytes_freed = remove(each)
        what = f"{each.model} {each.base} {each.dtype} {'raw' if each.raw_high_res else 'projected'}"
        if bytes_freed is None:
            kept.append(what)
        else:
            freed += bytes_freed
            print(f"removed {what}: {each.pictures:,} pictures, {_gib(bytes_freed)} GiB")
    for what in kept:
        print(f"kept {what}: a running process uses it. Wait for it or stop it.")
    print(f"freed {_gib(freed)} GiB")
    return not kept


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f}"


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
