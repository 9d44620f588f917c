"""Limits on the size of lists: far above any real data set, but low enough that no hostile file fills the memory.

A list of a few kilobytes can expand to gigabytes (by Parquet's run lengths and compression, or by a polygon that
crosses every row of a large image a million times). So sizes are checked before the content is read, and counts while
it is read.
"""

from pathlib import Path

from tune_sa2va.errors import DataError

MAX_LIST_BYTES = 2**28
"""Largest manifest or annotations file, 256 MiB: some 10,000 images with all their outlines."""

MAX_ROWS = 1_000_000
"""Most rows of a manifest, and most entries of an annotations file."""

MAX_COLUMNS = 1_000
"""Most columns of a manifest."""

MAX_CELL_LETTERS = 4_096
"""Longest file name, group or text: the longest path that Linux allows."""

MAX_POINTS = 2**20
"""Most points of all outlines of one text in one image. A vessel tree outlined along every pixel's edge has fewer."""


def check_size(path: Path) -> None:
    """Raises DataError if the list at `path` is larger than `MAX_LIST_BYTES`."""
    if (size := path.stat().st_size) > MAX_LIST_BYTES:
        raise DataError(
            f"{path}: has {size} bytes; at most {MAX_LIST_BYTES} are read. Split the data set, or give the masks as "
            "files."
        )


def too_many(path: Path, what: str, limit: int) -> DataError:
    """The error for a list with more than `limit` of `what`."""
    return DataError(f"{path}: has more than {limit} {what}. Split the data set, or take out what is not used.")
