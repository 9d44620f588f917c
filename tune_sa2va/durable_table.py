"""Writes Parquet files so that they are complete or absent."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.durable import write_whole


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """Replaces a file atomically, as `write_whole`. options: of pyarrow's `write_table`.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    write_whole(path, sink.getvalue().to_pybytes())
