"""Data sets as users have them, read into one form. `open_dataset` is the only door.

A source is a folder, or the path of a manifest or of an annotations file in it. In a folder the first of these wins:

1. `manifest.csv`, 2. `manifest.parquet` (see `manifest.py`), 3. `annotations.json` (see `annotations.py`),
4. `images/` with `masks/` (see `folder.py`).

A manifest is written by hand and on purpose, so it stands above what tools leave behind.

Readers list files and check the lists; no picture is decoded here. A fault of one file or entry becomes a `Problem`, so
that all of them are told at once; only a list that cannot be read at all raises.
"""

from pathlib import Path

from tune_sa2va.data.dataset import Dataset
from tune_sa2va.data.readers.annotations import read_annotations
from tune_sa2va.data.readers.folder import read_folder
from tune_sa2va.data.readers.manifest import read_manifest
from tune_sa2va.errors import DataError

_LISTS = ("manifest.csv", "manifest.parquet", "annotations.json")


def open_dataset(source: str | Path) -> Dataset:
    """The data set at `source`: a folder, or a .csv, .parquet or .json file in the data set's folder.

    Raises:
        DataError: nothing there, nothing that we know how to read, or a list that cannot be read at all.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder. Check the path.")
    # Absolute, since workers have other working directories; a list that is a link stays in the folder where it stands.
    path = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    if path.is_dir():
        listed = next((path / name for name in _LISTS if (path / name).is_file()), None)
        dataset = read_folder(path) if listed is None else _read_list(listed)
    else:
        dataset = _read_list(path)
    if not dataset.samples and not dataset.problems:
        raise DataError(f"{path}: holds no images. Put images in images/ and masks in masks/, or write a manifest.csv.")
    return dataset


def _read_list(path: Path) -> Dataset:
    match path.suffix.lower():
        case ".csv" | ".parquet":
            return read_manifest(path)
        case ".json":
            return read_annotations(path)
        case other:
            raise DataError(f"{path}: a data set is a folder or a .csv, .parquet or .json file, got '{other}'.")
