"""`python -m tune_sa2va.report`: a report on one search, or a comparison of two, as a page that opens offline.

python -m tune_sa2va.report results/NAME
python -m tune_sa2va.report --compare results/A results/B --to compared.html
"""

from pathlib import Path
from typing import Annotated

import typer

from tune_sa2va.errors import UserError

app = typer.Typer(add_completion=False)


@app.command()
def report(
    run: Annotated[
        Path | None, typer.Argument(help="A results folder, results/NAME. The search may still run.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Compare two results folders instead.", metavar="A B")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="File of the page. Default: RUN/report.html, or A-and-B.html next to A.", metavar="FILE"),
    ] = None,
    show_names: Annotated[
        bool,
        typer.Option("--show-names", help="Show file names and paths, which may identify patients, instead of codes."),
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Include pictures of test images in the page.")
    ] = True,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Also write the figures as PNG and SVG (needs Chromium).")
    ] = True,
) -> None:
    """Write a report on a search as one HTML file that opens offline and loads nothing.

    Images and groups are named by codes; names.parquet in the results folder tells which is which.
    """
    if (run is None) == (compare is None):
        raise UserError("Give one results folder, or --compare with two: python -m tune_sa2va.report --help.")
    if run is not None:
        write_report(run, to or run / "report.html", show_names=show_names, pictures=pictures, static=figures)
    elif compare is not None:
        first, second = (folder.resolve() for folder in compare)
        write_comparison(
            first, second, to or first.parent / f"{first.name}-and-{second.name}.html", show_names=show_names
        )


def write_report(folder: Path, to: Path, *, show_names: bool, pictures: bool, static: bool) -> None:
    """Writes the page of the search in `folder` to `to`, and with `static` its figures to `folder`/figures.

    Raises:
        UserError: the results or the folder of `to` cannot be used.
    """
    # Imported here because plotly and optuna take seconds, and --help should be quick.
    from tune_sa2va.report.load import load_run
    from tune_sa2va.report.page import render
    from tune_sa2va.report.static import write_figures
    from tune_sa2va.report.summary import report_figures, report_values

    run = load_run(folder, show_names=show_names)
    drawn = report_figures(run)
    _write(to, render("report.html", drawn, report_values(run, pictures=pictures)))
    if static:
        typer.echo(write_figures(folder / "figures", drawn))


def write_comparison(first: Path, second: Path, to: Path, *, show_names: bool) -> None:
    """Writes the page that compares two searches to `to`.

    Raises:
        UserError: the results or the folder of `to` cannot be used.
    """
    from tune_sa2va.report.compare import compare_figures, compare_values_of_page
    from tune_sa2va.report.load import load_run
    from tune_sa2va.report.page import render

    a, b = load_run(first, show_names=show_names), load_run(second, show_names=show_names)
    _write(to, render("compare.html", compare_figures(a, b), compare_values_of_page(a, b)))


def _write(to: Path, page: str) -> None:
    from tune_sa2va.durable import write_whole

    if not to.parent.is_dir():
        raise UserError(f"{to.parent}: there is no such folder to write {to.name} into. Make it first.")
    write_whole(to, page.encode())
    typer.echo(f"{to}: {to.stat().st_size / 1e6:.1f} MB, opens offline")


if __name__ == "__main__":
    from tune_sa2va.cli import run as run_command

    run_command(app)
