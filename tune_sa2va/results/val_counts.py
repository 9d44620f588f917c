"""Pixel counts of every validation image after every epoch: `val_counts/<trial>.parquet` of a results folder.

From them every score of every image can be taken again, whatever a mean hid. A file a trial, replaced as a whole with
each of its epochs: 15 epochs of 244 images are 40 kB.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.split_file import read_names
from tune_sa2va.durable import write_whole

FOLDER = "val_counts"

_PARTS = ("tp", "fp", "fn", "tn")
_SCHEMA = pa.schema(
    [
        ("epoch", pa.int64()),
        ("image_code", pa.string()),
        ("text", pa.string()),
        *((part, pa.int64()) for part in _PARTS),
    ],
    metadata={"schema_version": "1"},
)


class ValCounts:
    """Writes the counts of one search's trials."""

    def __init__(self, results: Path) -> None:
        """Raises DataError where the results folder has no split."""
        self._folder = results / FOLDER
        self._images = [(row["image_code"], row["text"]) for row in read_names(results) if row["split"] == "val"]

    def epoch(self, trial_id: str, epoch: int, counts: Sequence[Sequence[int]]) -> None:
        """An epoch is done; counts: (TP, FP, FN, TN) of each image in the order of the split.

        Later epochs that the file holds are of a run that a kill took back, and go.
        """
        path = self._folder / f"{trial_id}.parquet"
        rows = [row for row in pq.read_table(path).to_pylist() if row["epoch"] < epoch] if path.exists() else []
        rows += [
            {"epoch": epoch, "image_code": code, "text": text} | dict(zip(_PARTS, values, strict=True))
            for (code, text), values in zip(self._images, counts, strict=True)
        ]
        self._folder.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink)
        write_whole(path, sink.getvalue().to_pybytes())
