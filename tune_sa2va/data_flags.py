"""Flags of every command that reads a data set. This module imports nothing heavy, so that --help is quick."""

from typing import Annotated

import typer

from tune_sa2va.config import Absent, OutlineRule

GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="REGEX|CSV",
        help="Which patient an image belongs to: a regular expression with one group, matched in file names, or a .csv "
        "with the columns name and patient. A patient is never on two sides of a split.",
        show_default="the data set's groups",
    ),
]
Outlines = Annotated[
    OutlineRule | None,
    typer.Option(
        help="What an outline inside another of the same text means: union fills it, even-odd makes it a hole.",
        show_default="refused",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="VALUE=TEXT,...",
        help="What the values of the mask files show: 1=artery,2=vein, or by colour, #ff0000=artery.",
        show_default="the data set's labels, else one thing",
    ),
]
AbsentTargets = Annotated[
    Absent,
    typer.Option(
        "--absent",
        help="Samples whose truth is empty: drop leaves them out; keep keeps them, and an empty mask is right.",
    ),
]
CodesOrNames = Annotated[
    bool | None,
    typer.Option(
        "--codes/--show-names",
        help="Call images and groups by codes, or by their names, which may be names of patients.",
        show_default="names on a terminal, codes elsewhere",
    ),
]
