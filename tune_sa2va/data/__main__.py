"""Data sets from the command line: `python -m tune_sa2va.data check PATH`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tune_sa2va.data.check import check
from tune_sa2va.data.overlays import check_overlay_folder, write_overlays
from tune_sa2va.data.readers import open_dataset
from tune_sa2va.data.rules import Rules
from tune_sa2va.data.show import print_report, to_plain
from tune_sa2va.data_flags import AbsentTargets, CodesOrNames, GroupBy, Labels, Outlines
from tune_sa2va.words import count

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
    group_by: GroupBy = None,
    outlines: Outlines = None,
    labels: Labels = None,
    absent: AbsentTargets = "drop",
    seed: Annotated[int, typer.Option(help="Of the split whose parts are counted; the search's --seed.")] = 0,
    overlays: Annotated[
        Path | None,
        typer.Option(
            help="Write every picture with the outline of its truth into this new or empty folder: singly, and as one "
            "contact sheet a group. Files are called by code.",
            show_default=False,
        ),
    ] = None,
    num_overlays: Annotated[
        int | None,
        typer.Option("--num-overlays", help="So many pictures, spread over the groups.", show_default="all"),
    ] = None,
    codes: CodesOrNames = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> None:
    """Show every problem of a data set, and what it holds. Exits 1 on errors, 2 where there is no data set.

    Lists the groups, and how many images and groups would be in train, val and test.
    """
    if overlays is not None:
        check_overlay_folder(overlays)
    rules = Rules(group_by=group_by, outlines=outlines, labels=labels, absent=absent)
    report = check(open_dataset(path, allow_outside=allow_outside, rules=rules))
    if as_json:
        print(json.dumps(to_plain(report, seed=seed, codes=codes), indent=2))
    else:
        print_report(report, seed=seed, codes=codes, with_groups=True)
    if overlays is not None:
        write_overlays(report.samples, overlays, limit=num_overlays)
    if report.errors or not report.samples:
        raise typer.Exit(1)


@app.command("frames")
def frames_command(
    sources: Annotated[list[Path], typer.Argument(metavar="FILES...", help="DICOM files, or folders of them.")],
    to: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
) -> None:
    """Save the frames of DICOM files as PNG, windowed as the files say. Needs the package pydicom.

    Pictures are called by the code of their file, and no tag is copied. patients.csv tells by numbers which are of one
    patient: give it to --group-by.
    """
    from tune_sa2va.data.dicom import write_frames

    files, frames = write_frames(sources, to)
    typer.echo(f"{to}: {count(frames, 'frame')} of {count(files, 'file')}.")


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
