"""How large a list may be: far above any real data set, and low enough that no file from a stranger fills the memory.

A list of a few kilobytes can stand for gigabytes (Parquet's runs and compression, a polygon that crosses every row of a
large image a million times), so sizes are checked before the content is read, and counts while it is.
"""

from pathlib import Path

from tune_sa2va.errors import DataError

MAX_LIST_BYTES = 2**28
"""Of a manifest or an annotations file, 256 MiB: some 10,000 images with all their outlines."""

MAX_ROWS = 1_000_000
"""Of a manifest, and entries of an annotations file."""

MAX_COLUMNS = 1_000
"""Of a manifest."""

MAX_CELL_LETTERS = 4_096
"""Of a file name, a group or a text: Linux takes no longer path."""

MAX_POINTS = 2**20
"""Of all outlines of one text of one image; the outline of every pixel's edge of a vessel tree stays under it."""


def check_size(path: Path) -> None:
    """Raises DataError where the list at `path` is larger than `MAX_LIST_BYTES`."""
    if (size := path.stat().st_size) > MAX_LIST_BYTES:
        raise DataError(
            f"{path}: has {size} bytes; at most {MAX_LIST_BYTES} are read. Split the data set, or give the masks as "
            "files."
        )


def too_many(path: Path, what: str, limit: int) -> DataError:
    """The error of a list with more than `limit` of `what`."""
    return DataError(f"{path}: has more than {limit} {what}. Split the data set, or take out what is not used.")
