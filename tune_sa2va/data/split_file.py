"""The split as files: `names.parquet`, whose rows every worker gets, and `split.parquet`, the same without names.

File names of medical images may hold patients' names and record numbers. Every other file of a search calls images and
groups by their codes (`tune_sa2va.data.codes`), so a results folder without `names.parquet` can be shared.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.config import DataSettings
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.known_images import write_content
from tune_sa2va.data.readers import open_dataset
from tune_sa2va.data.rules import Rules
from tune_sa2va.data.sample import Sample, Split
from tune_sa2va.durable_table import write_table
from tune_sa2va.errors import DataError, DataGoneError
from tune_sa2va.words import count

Names = Sequence[Mapping[str, Any]]
"""Rows of `names.parquet`: image_code, group_code, text, split, fold, name, group."""

NAMES_FILE = "names.parquet"
SPLIT_FILE = "split.parquet"

_NAMES_CURE = "Put back a copy of it, or start a new search under another name."
_VERSION = {"schema_version": "3"}
_CODED = [*((name, pa.string()) for name in ("image_code", "group_code", "text", "split")), ("fold", pa.int64())]
_SPLIT_SCHEMA = pa.schema(_CODED, metadata=_VERSION)
_NAMES_SCHEMA = pa.schema([*_CODED, ("name", pa.string()), ("group", pa.string())], metadata=_VERSION)


def write_split(folder: Path, samples: Sequence[Sample]) -> None:
    """Write both files and `content.parquet` into `folder`. samples: with their parts set.

    Raises:
        DataError: an image is no longer there.
    """
    groups = group_codes(samples)
    rows = [
        {
            "image_code": image_code(sample),
            "group_code": groups[sample.group],
            "text": sample.text,
            "split": sample.split,
            "fold": sample.fold,
            "name": sample.name,
            "group": sample.group,
        }
        for sample in samples
    ]
    write_names(folder, rows)
    write_parts(folder, rows)
    write_content(folder, samples)


def write_names(folder: Path, names: Names) -> None:
    """Write only `names.parquet`."""
    _write(folder / NAMES_FILE, names, _NAMES_SCHEMA)


def write_parts(folder: Path, names: Names) -> None:
    """Write only `split.parquet`: the same rows without names."""
    _write(folder / SPLIT_FILE, names, _SPLIT_SCHEMA)


def read_split(folder: Path, data: DataSettings) -> tuple[Sample, ...]:
    """The samples of `data.source` that `names.parquet` in `folder` lists, with its groups and parts, in its order.

    Raises:
        DataError: the file cannot be read, or lists an image that the data set no longer has.
    """
    return find_samples(read_names(folder), data)


def find_samples(names: Names, data: DataSettings) -> tuple[Sample, ...]:
    """As `read_split`, from rows in memory: workers on other nodes cannot see the results folder.

    Raises:
        DataGoneError: an image, its mask or the whole data set is no longer there.
        DataError: the data set cannot be read, or a row has an unknown part.
    """
    rules = Rules.of(data).without_groups()  # the rows have groups, and the rule's table may be on another machine
    if not Path(data.source).exists():
        raise DataGoneError(f"{data.source}: the images are gone. Put them back, or start a new search.")
    dataset = open_dataset(data.source, allow_outside=data.allow_outside, rules=rules)
    found = {(s.name, s.text): s for s in dataset.samples}
    if absent := [row["name"] for row in names if (row["name"], row["text"]) not in found]:
        raise DataGoneError(
            f"{data.source}: {count(len(absent), 'image')} of {NAMES_FILE} can no longer be found, {absent[0]} among "
            "them. Put them back, or start a new search."
        )
    if strange := [row["split"] for row in names if row["split"] not in get_args(Split)]:
        raise DataError(f"{NAMES_FILE}: {strange[0]!r} is not a part of a split. {_NAMES_CURE}")
    return tuple(
        replace(found[row["name"], row["text"]], group=row["group"], split=row["split"], fold=row["fold"])
        for row in names
    )


def scored_rows(names: Names) -> list[Mapping[str, Any]]:
    """The images that are scored after every epoch, in the order of the split: those in folds, else the val part."""
    in_folds = [row for row in names if row["fold"] is not None]
    return in_folds or [row for row in names if row["split"] == "val"]


def read_parts(folder: Path) -> dict[str, Split]:
    """Code of each image in `split.parquet` -> its part; empty if there is no such file.

    Raises:
        DataError: the file cannot be read, or has an unknown part.
    """
    path = folder / SPLIT_FILE
    try:
        rows = pq.read_table(path, columns=["image_code", "split"]).to_pylist()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]}). Put back a copy of it.") from error
    if any(row["split"] not in get_args(Split) for row in rows):
        raise DataError(f"{path}: holds other parts than {', '.join(get_args(Split))}. Put back a copy of it.")
    return {row["image_code"]: row["split"] for row in rows}


def read_names(folder: Path) -> list[dict[str, Any]]:
    """The rows of `names.parquet`; `Names` lists their columns.

    Raises:
        DataError: the file cannot be read.
    """
    path = folder / NAMES_FILE
    try:
        table = pq.read_table(path)
        rows: list[dict[str, Any]] = table.to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason}). {_NAMES_CURE}") from error
    if not table.schema.equals(_NAMES_SCHEMA):
        raise DataError(f"{path}: has other columns than this tune_sa2va writes. {_NAMES_CURE}")
    return rows


def names_by_content(folder: Path, data: DataSettings) -> list[dict[str, Any]]:
    """The rows of a lost `names.parquet`, made again: the codes in `split.parquet` identify the images by content.

    The original names of groups are lost, so the code of a group becomes its name.

    Raises:
        DataGoneError: an image is no longer in the data set.
        DataError: `split.parquet` cannot be read either.
    """
    path = folder / SPLIT_FILE
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]}). {_NAMES_CURE}") from error
    if not table.schema.equals(_SPLIT_SCHEMA):
        raise DataError(f"{path}: has other columns than this tune_sa2va writes. {_NAMES_CURE}")
    dataset = open_dataset(data.source, allow_outside=data.allow_outside, rules=Rules.of(data).without_groups())
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for sample in reversed(dataset.samples):
        found[image_code(sample), sample.text].append(sample.name)
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        names = found[row["image_code"], row["text"]]
        if not names:
            raise DataGoneError(f"{data.source}: {row['image_code']} of {SPLIT_FILE} is gone. Put it back.")
        row |= {"name": names.pop(), "group": row["group_code"]}
    return rows


def _write(path: Path, rows: Names, schema: pa.Schema) -> None:
    columns = [pa.array([row[field.name] for row in rows], type=field.type) for field in schema]
    write_table(path, pa.Table.from_arrays(columns, schema=schema))
