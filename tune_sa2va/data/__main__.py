"""Data sets from the command line: `python -m tune_sa2va.data check PATH`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tune_sa2va.data.check import CheckReport, check
from tune_sa2va.data.readers import open_dataset

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Data sets of images with vessel masks."""


@app.command("check")
def check_command(
    path: Annotated[Path, typer.Argument(help="Folder, manifest.csv, manifest.parquet or annotations.json.")],
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Take files outside the data set's folder, too.")
    ] = False,
) -> None:
    """Show every problem of a data set, and what it holds. Exits 1 on errors, 2 where there is no data set."""
    report = check(open_dataset(path, allow_outside=allow_outside))
    print_report(report)
    if report.errors or not report.samples:
        raise typer.Exit(1)


def print_report(report: CheckReport) -> None:
    """Prints every problem of a data set, and what is left to use."""
    console = Console()
    if report.problems:
        _print_whole(console, _problem_table(report))
    _print_whole(console, _summary_table(report))


def _problem_table(report: CheckReport) -> Table:
    table = Table(title=f"{len(report.errors)} errors, {len(report.warnings)} warnings", title_justify="left")
    for header in ("severity", "file", "problem", "what to do"):
        table.add_column(header, overflow="fold")
    for problem in report.problems:
        cells = (problem.severity, problem.file, problem.fault, problem.message)
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    return table


def _summary_table(report: CheckReport) -> Table:
    """What is left to use. Text() and not str everywhere: rich would take [brackets] in a name for markup."""
    table = Table(show_header=False)
    rows = {
        "data set": _printable(str(report.root)),
        "images": f"{report.num_images}",
        "samples (image and text)": f"{len(report.samples)}",
        "groups": f"{report.num_groups}",
    }
    if report.samples:
        heights, widths = np.asarray(report.sizes_px).T
        rows["width, pixels"] = f"{widths.min()} to {widths.max()}"
        rows["height, pixels"] = f"{heights.min()} to {heights.max()}"
        low, median, high = np.percentile(report.foreground, [0, 50, 100])
        rows["share of vessel"] = f"{low:.1%} to {high:.1%}, median {median:.1%}"
    for label, value in rows.items():
        table.add_row(label, Text(value, overflow="fold"))
    return table


def _print_whole(console: Console, table: Table) -> None:
    """Prints a table as wide as it needs where no screen is there to fold it: a file or a pipe gets whole names."""
    if not console.is_terminal:
        unbounded = console.options.update(max_width=1_000_000)
        console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
    console.print(table)


def _printable(text: str) -> str:
    """Text from a data set as it may go to a terminal: control characters and broken Unicode become escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
