"""Pixel counts of every scored image after every epoch: `val_counts/<trial>.parquet` of a results folder.

With folds, an image's counts are those of the adapter that was not trained on it.
From them every score of every image can be taken again, whatever a mean hid. A file a trial, replaced as a whole with
each of its epochs: 15 epochs of 244 images are 40 kB.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.split_file import read_names, scored_rows
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.metrics import Counts

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


def read_val_dice(results: Path, trial_id: str, epoch: int) -> pd.Series:
    """Dice of each scored image after an epoch, by (image_code, text); NaN where nothing was there to find or found.

    Raises:
        ResultsError: the trial's counts are not there, or cannot be read.
    """
    path = results / FOLDER / f"{trial_id}.parquet"
    try:
        table = pq.read_table(path, filters=[("epoch", "=", epoch)]).to_pandas()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ResultsError(f"{path}: cannot be read ({reason}). Put back a copy of it.") from error
    dice = [Counts(*row).dice for row in table[list(_PARTS)].itertuples(index=False, name=None)]
    return pd.Series(dice, index=pd.MultiIndex.from_frame(table[["image_code", "text"]]), dtype=float)


class ValCounts:
    """Writes the counts of one search's trials."""

    def __init__(self, results: Path) -> None:
        """Raises DataError where the results folder has no split."""
        self._folder = results / FOLDER
        self._images = [(row["image_code"], row["text"]) for row in scored_rows(read_names(results))]

    def epoch(self, trial_id: str, epoch: int, counts: Sequence[Sequence[int] | None]) -> None:
        """An epoch is done; counts: (TP, FP, FN, TN) of each image in the order of the split, None where not scored.

        Later epochs that the file holds are of a run that a kill took back, and go.
        """
        path = self._folder / f"{trial_id}.parquet"
        rows = [row for row in pq.read_table(path).to_pylist() if row["epoch"] < epoch] if path.exists() else []
        rows += [
            {"epoch": epoch, "image_code": code, "text": text} | dict(zip(_PARTS, values, strict=True))
            for (code, text), values in zip(self._images, counts, strict=True)
            if values is not None
        ]
        self._folder.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink)
        write_whole(path, sink.getvalue().to_pybytes())
