"""Finds files of a results folder that are damaged or gone, and rebuilds them from others.

`--resume` does this before Ray starts. It reports every file that is rebuilt, and a file that cannot be rebuilt is an
error. The tables come from the last snapshot; `split.parquet` from the names; the names from `split.parquet` and the
images; `content.parquet` from the images, if they have not changed; pixel counts from the trial's checkpoint.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tune_sa2va.data.known_images import CONTENT_FILE, read_content, write_content
from tune_sa2va.data.split_file import (
    NAMES_FILE,
    SPLIT_FILE,
    Names,
    find_samples,
    names_by_content,
    read_names,
    read_parts,
    write_names,
    write_parts,
)
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import DataError, ResultsError, UserError
from tune_sa2va.results.records import EPOCHS_FILE, TRIALS_FILE, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.snapshots import Snapshots
from tune_sa2va.results.val_counts import damaged_counts, rebuild_counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Mend:
    """A file that can be rebuilt. words: one sentence on what is wrong with it and where the new one comes from.

    make: writes the new file.
    """

    file: Path
    words: str
    make: Callable[[], object]


def find_mends(settings: SearchSettings) -> list[Mend]:
    """The damaged or missing files of a search's results folder that can be rebuilt. Writes nothing.

    Raises:
        UserError: a damaged file cannot be rebuilt, or images are gone.
    """
    return [*_tables(settings.folder), *_split(settings), *_counts(settings.folder)]


def known_names(settings: SearchSettings) -> Names:
    """The rows of `names.parquet`, read from it or, if it is damaged, rebuilt in memory.

    Raises:
        DataError: neither is possible.
    """
    try:
        return read_names(settings.folder)
    except DataError as error:
        try:
            return names_by_content(settings.folder, settings.data)
        except UserError:
            raise error from None


def _tables(folder: Path) -> Iterator[Mend]:
    readers: tuple[tuple[str, Callable[[Path], pd.DataFrame]], ...] = (
        (TRIALS_FILE, read_trials),
        (EPOCHS_FILE, read_epochs),
    )
    for name, read in readers:
        try:
            read(folder)
        except ResultsError as error:
            source = next((place / name for place in Snapshots(folder).folders() if _can_read(read, place, name)), None)
            if source is None:
                raise
            words = f"{_fault(error)}; replaced by the copy in snapshot {source.parent.name}."
            yield Mend(file=folder / name, words=words, make=_copying(source, folder / name))


def _can_read(read: Callable[[Path], object], place: Path, name: str) -> bool:
    try:
        read(place)
    except ResultsError:
        return False
    return (place / name).is_file()


def _copying(source: Path, to: Path) -> Callable[[], object]:
    return lambda: write_whole(to, source.read_bytes())


def _split(settings: SearchSettings) -> Iterator[Mend]:
    folder, names = settings.folder, known_names(settings)
    try:
        read_names(folder)
    except DataError as error:
        words = f"{_fault(error)}; rebuilt from {SPLIT_FILE} and the images, recognized by their content."
        yield Mend(file=folder / NAMES_FILE, words=words, make=lambda: write_names(folder, names))
    if not (folder / SPLIT_FILE).is_file():
        words = f"{folder / SPLIT_FILE}: is gone; rebuilt from {NAMES_FILE}."
        yield Mend(file=folder / SPLIT_FILE, words=words, make=lambda: write_parts(folder, names))
    else:
        try:
            read_parts(folder)
        except DataError as error:
            words = f"{_fault(error)}; rebuilt from {NAMES_FILE}."
            yield Mend(file=folder / SPLIT_FILE, words=words, make=lambda: write_parts(folder, names))
    try:
        read_content(folder)
    except DataError as error:
        words = f"{_fault(error)}; rebuilt from images and masks, which are those of the search."
        samples = find_samples(names, settings.data)
        yield Mend(file=folder / CONTENT_FILE, words=words, make=lambda: write_content(folder, samples))


def _counts(folder: Path) -> Iterator[Mend]:
    for path, reason in damaged_counts(folder):
        words = f"{path}: {reason}; rebuilt from the trial's newest checkpoint."
        yield Mend(file=path, words=words, make=lambda path=path: rebuild_counts(folder, path))  # type: ignore[misc]


def _fault(error: UserError) -> str:
    """The first part of an error message, before the cure."""
    return str(error).split(". ", 1)[0]
