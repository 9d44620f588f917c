"""A page that says that the results went on without it: a report is a picture of one moment."""

from pathlib import Path

from tune_sa2va.durable import write_whole

FILE_NAME = "report.html"
_HIDDEN, _SHOWN = '<p class="stale" hidden>', '<p class="stale">'


def mark_as_older(folder: Path) -> None:
    """Makes the report in a results folder, where there is one, say that the results are newer than it is."""
    page = folder / FILE_NAME
    if page.is_file():
        write_whole(page, page.read_bytes().replace(_HIDDEN.encode(), _SHOWN.encode()))
