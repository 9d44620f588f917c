"""`manifest.csv` or `manifest.parquet`: a row a sample.

Columns: `image`, `mask` (files), and optionally `group`, `split` (train, val or test), `text`. An empty cell of an
optional column means the same as no column; an empty `mask` is an image without annotation. Other columns are passed
over (age, hospital), but one that looks like a misspelt name of ours stops the read: a lost `gruop` would leak patients
between splits.

Paths are relative to the manifest's folder and stay inside it, or are absolute. Cells are stripped of outer spaces.
CSV is UTF-8 with commas.
"""

import csv
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.readers.naming import group_from_name, in_order, is_file, name_in
from tune_sa2va.data.sample import DEFAULT_TEXT, Sample, Split
from tune_sa2va.errors import DataError

_REQUIRED = ("image", "mask")
_KNOWN = (*_REQUIRED, "group", "split", "text")
_SPLITS = get_args(Split)
# difflib's ratio: takes in gruop, spilt and texts, and leaves alone context, task and patient_group.
_MISSPELT_FROM = 0.75

Row = Mapping[str, str]


def read_manifest(path: Path) -> Dataset:
    """The rows of `path` as samples. Raises DataError where the table cannot be read or lacks a column."""
    rows, problems = _read_csv(path) if path.suffix.lower() == ".csv" else (_read_parquet(path), [])
    root = path.parent
    samples: dict[tuple[str, str], Sample] = {}
    for where, row in rows:
        found = _read_row(root, where, row)
        if isinstance(found, Problem):
            problems.append(found)
        elif (found.name, found.text) in samples:
            message = f"{where} lists this image again for '{found.text}'. Keep one row."
            problems.append(Problem(fault=Fault.LISTED_TWICE, file=found.name, message=message))
        else:
            samples[found.name, found.text] = found
    return Dataset(root=root, samples=in_order(samples.values()), problems=tuple(problems))


def _read_row(root: Path, where: str, row: Row) -> Sample | Problem:
    if not row["image"]:
        return Problem(
            fault=Fault.BAD_ENTRY, file=where, message="The image is missing. Fill it in, or remove the row."
        )
    image = _path_in(root, row["image"])
    if image is None:
        return _outside(where, "image", row["image"])
    name = name_in(root, image)
    if not is_file(image):
        return Problem(
            fault=Fault.MISSING_IMAGE, file=name, message=f"Named by {where}; there is no such file. Add it."
        )
    if not row["mask"]:
        return Problem(fault=Fault.NOT_ANNOTATED, file=name, message=f"No mask in {where}. The image is left out.")
    mask = _path_in(root, row["mask"])
    if mask is None:
        return _outside(where, "mask", row["mask"])
    if not is_file(mask):
        message = f"{where} names the mask {row['mask']}; there is no such file. Add it."
        return Problem(fault=Fault.MISSING_MASK, file=name, message=message)
    split = row.get("split", "")
    if split and split not in _SPLITS:
        message = f"split must be one of {', '.join(_SPLITS)} or empty, got '{split}'."
        return Problem(fault=Fault.BAD_ENTRY, file=where, message=message)
    return Sample(
        name=name,
        image=image,
        mask=mask,
        group=row.get("group") or group_from_name(name),
        split=cast(Split, split) if split else None,
        text=row.get("text") or DEFAULT_TEXT,
    )


def _path_in(root: Path, cell: str) -> Path | None:
    """The file that a cell names, or None where a relative path leads out of `root` or no path can be made of it."""
    if "\0" in cell:
        return None
    path = Path(os.path.normpath(root / cell))
    return path if Path(cell).is_absolute() or path.is_relative_to(root) else None


def _outside(where: str, column: str, cell: str) -> Problem:
    message = f"{column} '{cell}' leads out of the data set's folder. Move the file in, or give its absolute path."
    return Problem(fault=Fault.BAD_ENTRY, file=where, message=message)


def _read_csv(path: Path) -> tuple[list[tuple[str, Row]], list[Problem]]:
    """(where, row) for each sound row, and the others as problems; lines are counted as an editor counts them."""
    rows: list[tuple[str, Row]] = []
    problems = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [column.strip() for column in next(reader, [])]
            _check_columns(path, columns)
            for cells in reader:
                where = f"{path.name}, line {reader.line_num}"
                if len(cells) == len(columns):
                    rows.append((where, dict(zip(columns, (cell.strip() for cell in cells), strict=True))))
                elif cells:  # an empty line has none
                    message = (
                        f"Has {len(cells)} cells, the header {len(columns)}. Put cells with commas in double quotes."
                    )
                    problems.append(Problem(fault=Fault.BAD_ENTRY, file=where, message=message))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}). Save it as UTF-8 with commas.") from error
    return rows, problems


def _read_parquet(path: Path) -> list[tuple[str, Row]]:
    try:
        columns = pq.read_schema(path).names
        _check_columns(path, columns)
        known = [column for column in columns if column in _KNOWN]
        table = pq.read_table(path, columns=known).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}). Write it again, or use manifest.csv.") from error
    return [
        (f"{path.name}, row {number}", {key: "" if cell is None else str(cell).strip() for key, cell in row.items()})
        for number, row in enumerate(table, start=1)
    ]


def _check_columns(path: Path, columns: list[str]) -> None:
    for column in columns:
        absent = [name for name in _KNOWN if name not in columns]
        near = difflib.get_close_matches(column.casefold(), absent, n=1, cutoff=_MISSPELT_FROM)
        if column not in _KNOWN and near:
            raise DataError(f"{path}: unknown column '{column}'. Did you mean '{near[0]}'? Rename it.")
    got = ", ".join(columns)
    if lacking := [name for name in _REQUIRED if name not in columns]:
        raise DataError(f"{path}: needs the columns {', '.join(_REQUIRED)}; lacks {', '.join(lacking)}; got: {got}.")
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}: a column is there twice: {got}. Keep one.")
