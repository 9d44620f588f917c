"""Checks a data set (`python -m tune_sa2va.data check PATH`) and saves the frames of DICOM files (`frames`)."""

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
        bool, typer.Option("--allow-outside", help="Accept files outside the data set's folder.")
    ] = False,
    group_by: GroupBy = None,
    outlines: Outlines = None,
    labels: Labels = None,
    absent: AbsentTargets = "drop",
    seed: Annotated[int, typer.Option(help="Seed of the split whose parts are counted; as --seed of a search.")] = 0,
    overlays: Annotated[
        Path | None,
        typer.Option(
            help="Write every picture with the outline of its truth into this new or empty folder: one by one, and as "
            "a contact sheet for each group. The files are named by codes.",
            show_default=False,
        ),
    ] = None,
    num_overlays: Annotated[
        int | None,
        typer.Option("--num-overlays", help="Write this many pictures, spread over the groups.", show_default="all"),
    ] = None,
    codes: CodesOrNames = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show every problem of a data set, and what it holds. Exits 1 on errors, 2 if there is no data set.

    The groups are listed, with the numbers of images and groups that train, val and test would have.
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
    to: Annotated[Path, typer.Option(help="Folder to write to; new or empty.")],
) -> None:
    """Save the frames of DICOM files as PNG, with the window that each file gives. Needs the package pydicom.

    Pictures are named by the code of their file, and no tag is copied. patients.csv numbers the patients: give it to
    --group-by.
    """
    from tune_sa2va.data.dicom import write_frames

    files, frames = write_frames(sources, to)
    typer.echo(f"{to}: {count(frames, 'frame')} of {count(files, 'file')}.")


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
