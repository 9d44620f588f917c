"""Reads `manifest.csv` or `manifest.parquet`: one row per sample.

Columns: `image` and `mask` (files), and optionally `group`, `split` (train, val or test), and `text` or `labels` (what
the values of the mask show, `1=artery,2=vein`: a sample for each). An empty cell in an optional column means the same
as no column; an empty `mask` is an image without annotation. Other columns (age, hospital) are ignored, but a name that
looks like a misspelt known one is an error: a lost `gruop` would leak patients between parts.

Paths are relative to the manifest's folder, or absolute; files outside it need `allow_outside`. A backslash is read as
a slash unless a file has that name. Cells are stripped of outer spaces. Words for a missing value (nan, NA, None, null
and the like) count as empty, and are reported. CSV is UTF-8 with commas; empty columns without a name, and empty rows,
which spreadsheets leave behind, are ignored. The known columns of a Parquet file hold texts or numbers.
"""

import csv
import difflib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.labels import parse_labels
from tune_sa2va.data.readers.limits import MAX_CELL_LETTERS, MAX_COLUMNS, MAX_ROWS, check_size, too_many
from tune_sa2va.data.readers.naming import (
    as_on_disk,
    group_from_name,
    in_order,
    is_file,
    leads_out,
    name_in,
    outside_problem,
)
from tune_sa2va.data.readers.nothing import says_nothing
from tune_sa2va.data.sample import DEFAULT_TEXT, Sample, Split
from tune_sa2va.errors import DataError, UserError

_REQUIRED = ("image", "mask")
_KNOWN = (*_REQUIRED, "group", "split", "text", "labels")
_SPLITS = get_args(Split)
# difflib's ratio: it matches gruop, spilt and texts, but not context, task or patient_group.
_MISSPELT_FROM = 0.75
_BATCH_ROWS = 1_000
_MAX_CELL_BYTES = 4 * MAX_CELL_LETTERS  # of UTF-8
_MAX_UNPACKED_BYTES = 2**30

Row = Mapping[str, str]


def read_manifest(path: Path, *, allow_outside: bool = False) -> Dataset:
    """The rows of `path` as samples. Raises DataError if it cannot be read, lacks a column, or is too large."""
    check_size(path)
    rows, problems = _read_csv(path) if path.suffix.lower() == ".csv" else (_read_parquet(path), [])
    root = path.parent
    samples: dict[tuple[str, str], Sample] = {}
    rows, nothings = _without_nothings(path, rows)
    problems += nothings
    for where, row in rows:
        found = _read_row(root, where, row, allow_outside)
        if isinstance(found, Problem):
            problems.append(found)
            continue
        for sample in found:
            if (sample.name, sample.text) in samples:
                message = f"{where} lists this image again for '{sample.text}'. Keep one row."
                problems.append(Problem(fault=Fault.LISTED_TWICE, file=sample.name, message=message))
            else:
                samples[sample.name, sample.text] = sample
    return Dataset(root=root, samples=in_order(samples.values()), problems=tuple(problems))


def _without_nothings(path: Path, rows: list[tuple[str, Row]]) -> tuple[list[tuple[str, Row]], list[Problem]]:
    """The rows with words for a missing value replaced by "", and a problem for each column that had some."""
    counts: dict[str, Counter[str]] = {}
    emptied = []
    for where, row in rows:
        for column in _KNOWN:
            if (cell := row.get(column)) and says_nothing(cell):
                counts.setdefault(column, Counter())[cell] += 1
                row = {**row, column: ""}
        emptied.append((where, row))
    problems = [
        Problem(
            fault=Fault.COUNTED_EMPTY,
            file=path.name,
            message=f"{words.total()} cells of column '{column}' say {', '.join(map(repr, sorted(words)))} and count "
            "as empty. Leave them empty, or write what is meant.",
        )
        for column, words in counts.items()
    ]
    return emptied, problems


def _read_row(root: Path, where: str, row: Row, allow_outside: bool) -> list[Sample] | Problem:
    if not row["image"]:
        return Problem(
            fault=Fault.BAD_ENTRY, file=where, message="The image is missing. Fill it in, or remove the row."
        )
    if long := [column for column, cell in row.items() if len(cell) > MAX_CELL_LETTERS]:
        message = f"{long[0]} has more than {MAX_CELL_LETTERS} letters. Shorten it, or remove the row."
        return Problem(fault=Fault.BAD_ENTRY, file=where, message=message)
    image = _path_in(root, row["image"], allow_outside=allow_outside)
    if image is None:
        return outside_problem(where, row["image"])
    name = name_in(root, image)
    if not is_file(image):
        return Problem(
            fault=Fault.MISSING_IMAGE, file=name, message=f"Named by {where}; there is no such file. Add it."
        )
    if not row["mask"]:
        return Problem(fault=Fault.NOT_ANNOTATED, file=name, message=f"No mask in {where}. The image is left out.")
    mask = _path_in(root, row["mask"], allow_outside=allow_outside)
    if mask is None:
        return outside_problem(where, row["mask"])
    if not is_file(mask):
        message = f"{where} names the mask {row['mask']}; there is no such file. Add it."
        return Problem(fault=Fault.MISSING_MASK, file=name, message=message, names=(row["mask"],))
    split = row.get("split", "")
    if split and split not in _SPLITS:
        message = f"split must be one of {', '.join(_SPLITS)} or empty, got '{split}'."
        return Problem(fault=Fault.BAD_ENTRY, file=where, message=message)
    sample = Sample(
        name=name,
        image=image,
        mask=mask,
        group=row.get("group") or group_from_name(name),
        split=cast(Split, split) if split else None,
        text=row.get("text") or DEFAULT_TEXT,
    )
    if not (table := row.get("labels")):
        return [sample]
    if row.get("text"):
        message = "Has a text and labels. Leave one of them empty."
        return Problem(fault=Fault.BAD_ENTRY, file=where, message=message)
    try:
        return list(parse_labels(table, where="labels").of(sample, mask))
    except UserError as error:
        return Problem(fault=Fault.BAD_ENTRY, file=where, message=str(error))


def _path_in(root: Path, cell: str, *, allow_outside: bool) -> Path | None:
    """The file that a cell names; None if it leads out of `root` without permission, or is not a path."""
    if "\0" in cell:
        return None
    path = as_on_disk(Path(os.path.normpath(root / cell)))
    if "\\" in cell and not is_file(path):
        path = as_on_disk(Path(os.path.normpath(root / cell.replace("\\", "/"))))
    return path if allow_outside or not leads_out(root, path) else None


def _read_csv(path: Path) -> tuple[list[tuple[str, Row]], list[Problem]]:
    """(where, row) for each valid row, and a problem for each other. Lines are numbered as in an editor."""
    rows: list[tuple[str, Row]] = []
    problems = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _without_last_empty([column.strip() for column in next(reader, [])])
            _check_columns(path, columns)
            for number, cells in enumerate(reader):
                if number >= MAX_ROWS:
                    raise too_many(path, "rows", MAX_ROWS)
                where = f"{path.name}, line {reader.line_num}"
                cells = [cell.strip() for cell in cells]
                if not any(cells):  # an empty line, or a row of commas from a spreadsheet
                    continue
                if not any(cells[len(columns) :]):
                    cells = cells[: len(columns)]
                if len(cells) == len(columns):
                    rows.append((where, dict(zip(columns, cells, strict=True))))
                else:
                    message = (
                        f"Has {len(cells)} cells, the header {len(columns)}. Put cells with commas in double quotes."
                    )
                    problems.append(Problem(fault=Fault.BAD_ENTRY, file=where, message=message))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}). Save it as UTF-8 with commas.") from error
    return rows, problems


def _without_last_empty(columns: list[str]) -> list[str]:
    """The header without the empty columns at its end, which spreadsheets leave behind."""
    while columns and not columns[-1]:
        columns = columns[:-1]
    return columns


def _read_parquet(path: Path) -> list[tuple[str, Row]]:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names)
            known = [field for field in schema if field.name in _KNOWN]
            _check_types(path, known)
            _check_counts(path, file.metadata)
        # Dictionary-encoded, so that a text that repeats a million times is stored once.
        texts = [field.name for field in known if _is_text(field.type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            columns = [field.name for field in known]
            rows = [row for batch in file.iter_batches(_BATCH_ROWS, columns=columns) for row in _rows_of(path, batch)]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}). Write it again, or use manifest.csv.") from error
    return [(f"{path.name}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _rows_of(path: Path, batch: pa.RecordBatch) -> list[Row]:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        texts = column.dictionary if pa.types.is_dictionary(column.type) else column
        if _is_text(texts.type) and (pc.max(pc.binary_length(texts)).as_py() or 0) > _MAX_CELL_BYTES:
            raise DataError(f"{path}: column '{name}' has a text of over {MAX_CELL_LETTERS} letters. Shorten it.")
    return [{key: "" if cell is None else str(cell).strip() for key, cell in row.items()} for row in batch.to_pylist()]


def _check_types(path: Path, fields: list[pa.Field]) -> None:
    for field in fields:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            raise DataError(f"{path}: column '{field.name}' is of type {str(field.type)[:80]}. Write it as text.")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_counts(path: Path, metadata: pq.FileMetaData) -> None:
    """Checks counts before anything is unpacked: a run of equal values can stand for any number of rows."""
    if metadata.num_rows > MAX_ROWS:
        raise too_many(path, "rows", MAX_ROWS)
    unpacked = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if unpacked > _MAX_UNPACKED_BYTES:
        raise DataError(
            f"{path}: unpacks to {unpacked} bytes; at most {_MAX_UNPACKED_BYTES} are read. Take out the columns that "
            "are not used."
        )


def _check_columns(path: Path, columns: list[str]) -> None:
    if len(columns) > MAX_COLUMNS:
        raise too_many(path, "columns", MAX_COLUMNS)
    for column in columns:
        # `labels` is left out: a column called label may hold anything, and has always been ignored.
        absent = [name for name in (*_REQUIRED, "group", "split", "text") if name not in columns]
        near = difflib.get_close_matches(column.casefold(), absent, n=1, cutoff=_MISSPELT_FROM)
        if column not in _KNOWN and near:
            raise DataError(f"{path}: unknown column '{column}'. Did you mean '{near[0]}'? Rename it.")
    got = ", ".join(columns)
    if lacking := [name for name in _REQUIRED if name not in columns]:
        raise DataError(
            f"{path}: needs the columns {', '.join(_REQUIRED)}; lacks {', '.join(lacking)}; got: {got}. Add them."
        )
    if twice := [name for name in _KNOWN if columns.count(name) > 1]:
        raise DataError(f"{path}: the column '{twice[0]}' is there twice: {got}. Keep one.")
