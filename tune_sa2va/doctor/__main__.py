"""`python -m tune_sa2va.doctor`: is this machine ready? Prints one line per check, with a cure for each that fails.

It uses no network. Exit codes: 0 ready, possibly with warnings; 1 something would make every search fail.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tune_sa2va.doctor.finding import Finding, Severity, worst

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder for the results of all searches.")] = Path("results"),
    quick: Annotated[bool, typer.Option("--quick", help="Do not try to start Ray, which takes seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Check Python, packages, GPUs, disk, memory and what Ray needs; tell how to fix what is wrong."""
    findings = examine(out, quick=quick)
    severity = worst(findings)
    if as_json:
        print(json.dumps({"severity": severity, "checks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        show(findings)
    raise typer.Exit(1 if severity is Severity.FAIL else 0)


def examine(out: Path, *, quick: bool) -> list[Finding]:
    """The findings of all checks, in the order they are printed. quick: do not start Ray."""
    from tune_sa2va.cache.place import cache_folder
    from tune_sa2va.doctor.gpus import check_gpus  # heavy imports are inside functions, so that --help is quick
    from tune_sa2va.doctor.machine import check_machine
    from tune_sa2va.doctor.ray_start import check_ray
    from tune_sa2va.doctor.software import check_installed, check_packages, check_python

    folders = {"results": out.resolve(), "caches": cache_folder()}
    installed = check_installed()
    return [
        installed,
        *([check_python(), *check_packages()] if installed.severity is Severity.OK else []),
        *check_gpus(),
        *check_machine(folders),
        *([] if quick else [check_ray()]),
    ]


def show(findings: list[Finding]) -> None:
    """Prints one line per finding with its cure below it, wrapped to the width of the terminal, and the counts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {Severity.OK: "green", Severity.WARN: "yellow", Severity.FAIL: "bold red"}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.severity, colours[finding.severity]), finding.subject, Text(finding.found))
        if finding.cure:
            table.add_row("", "", Text(f"-> {finding.cure}"))
    console = Console(highlight=False)
    console.print(table)
    counted = ", ".join(f"{sum(f.severity is severity for f in findings)} {severity}" for severity in Severity)
    console.print(f"\n{counted}.")


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
