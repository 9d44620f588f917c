"""Marks a report as outdated once a resumed search adds results."""

from pathlib import Path

from tune_sa2va.durable import write_whole

FILE_NAME = "report.html"
_HIDDEN, _SHOWN = '<p class="stale" hidden>', '<p class="stale">'


def mark_as_older(folder: Path) -> None:
    """Makes the report in a results folder, if there is one, show that the results are newer than the report."""
    page = folder / FILE_NAME
    if page.is_file():
        write_whole(page, page.read_bytes().replace(_HIDDEN.encode(), _SHOWN.encode()))
