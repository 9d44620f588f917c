"""The split as a file: which sample lies in which part, written once a search and read by every worker after that."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.readers import open_dataset
from tune_sa2va.data.sample import Sample, Split
from tune_sa2va.errors import DataError

_SCHEMA = pa.schema(
    [("name", pa.string()), ("text", pa.string()), ("group", pa.string()), ("split", pa.string())],
    metadata={"schema_version": "1"},
)


def write_split(path: Path, samples: Sequence[Sample]) -> None:
    """Write the samples' groups and parts, under a temporary name first."""
    rows = [{"name": s.name, "text": s.text, "group": s.group, "split": s.split} for s in samples]
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary)
    temporary.replace(path)


def read_split(path: Path, source: str) -> tuple[Sample, ...]:
    """The samples of `source` that the file at `path` names, with its groups and parts, in its order.

    Raises:
        DataError: the file cannot be read, or names an image that the data set no longer has.
    """
    try:
        rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}). Start the search anew under another name.") from error
    found = {(s.name, s.text): s for s in open_dataset(source).samples}
    if absent := [row["name"] for row in rows if (row["name"], row["text"]) not in found]:
        raise DataError(
            f"{source}: {len(absent)} images of {path} are gone, {absent[0]} among them. Put them back, or start anew."
        )
    return tuple(_placed(found[row["name"], row["text"]], row["group"], row["split"]) for row in rows)


def _placed(sample: Sample, group: str, split: Split) -> Sample:
    assert split in get_args(Split), f"{sample.name} lies in no part: {split!r}"
    return Sample(name=sample.name, image=sample.image, mask=sample.mask, group=group, split=split, text=sample.text)
