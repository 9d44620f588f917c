"""Pixel counts of every scored image after every epoch: `val_counts/<trial>.parquet` of a results folder.

All scores of every image can be computed from them. With folds, an image's counts are those of the adapter that was not
trained on it. There is one file per trial, replaced as a whole after each epoch: 15 epochs of 244 images take 40 kB.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.split_file import read_names, scored_rows
from tune_sa2va.durable_table import write_table
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.results.settings import CHECKPOINTS

FOLDER = "val_counts"
RECORDS_FILE = "epochs.json"
"""File in each checkpoint with the records of all epochs up to it, including their counts (`lane.store`)."""
VAL_COUNTS = "val_counts"
"""Key of an epoch's record: (TP, FP, FN, TN) of each validation image, in the order of the split; None for an image
whose fold was not trained in this epoch."""

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
    """Dice of each scored image after an epoch, by (image_code, text); 1 if truth and prediction are both empty.

    Raises:
        ResultsError: the trial's counts are missing or cannot be read.
    """
    path = results / FOLDER / f"{trial_id}.parquet"
    try:
        table = pq.read_table(path, filters=[("epoch", "=", epoch)]).to_pandas()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ResultsError(f"{path}: cannot be read ({reason}). Put back a copy of it.") from error
    dice = [Counts(*row).dice for row in table[list(_PARTS)].itertuples(index=False, name=None)]
    return pd.Series(dice, index=pd.MultiIndex.from_frame(table[["image_code", "text"]]), dtype=float)


def damaged_counts(results: Path) -> Iterator[tuple[Path, str]]:
    """Yields files that are damaged, and missing ones of trials with a checkpoint, with what is wrong with each."""
    there = {path.stem: path for path in (results / FOLDER).glob("*.parquet")}
    for path in sorted(there.values()):
        try:
            if not pq.read_table(path).schema.equals(_SCHEMA):
                yield path, "has other columns than this tune_sa2va writes"
        except (OSError, pa.ArrowException) as error:
            yield path, f"cannot be read ({str(error).splitlines()[0]})"
    for checkpoint in sorted((results / CHECKPOINTS).glob("*/checkpoint_*")):
        if (trial_id := checkpoint.parent.name) not in there and there:  # without any, they are an older tune_sa2va's
            there[trial_id] = results / FOLDER / f"{trial_id}.parquet"
            yield there[trial_id], "is gone"


def rebuild_counts(results: Path, path: Path) -> None:
    """Writes a trial's file again from its newest readable checkpoint, or removes it if there is no such checkpoint."""
    path.unlink(missing_ok=True)
    for checkpoint in sorted((results / CHECKPOINTS / path.stem).glob("checkpoint_*"), reverse=True):
        try:
            epochs = json.loads((checkpoint / RECORDS_FILE).read_text(encoding="utf-8"))
            known = [(int(epoch["epoch"]), epoch[VAL_COUNTS]) for epoch in epochs]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        counts = ValCounts(results)
        for epoch, values in known:
            counts.epoch(path.stem, epoch, values)
        return


class ValCounts:
    """Writes the counts of one search's trials."""

    def __init__(self, results: Path) -> None:
        """Raises DataError if the results folder has no split."""
        self._folder = results / FOLDER
        self._images = [(row["image_code"], row["text"]) for row in scored_rows(read_names(results))]

    def epoch(self, trial_id: str, epoch: int, counts: Sequence[Sequence[int] | None]) -> None:
        """Stores the counts of an epoch that is done.

        counts: (TP, FP, FN, TN) of each image in the order of the split; None for images that were not scored.
        Later epochs in the file are deleted: they are from before a kill after which the trial resumed earlier.
        """
        path = self._folder / f"{trial_id}.parquet"
        rows = [row for row in pq.read_table(path).to_pylist() if row["epoch"] < epoch] if path.exists() else []
        rows += [
            {"epoch": epoch, "image_code": code, "text": text} | dict(zip(_PARTS, values, strict=True))
            for (code, text), values in zip(self._images, counts, strict=True)
            if values is not None
        ]
        self._folder.mkdir(exist_ok=True)
        write_table(path, pa.Table.from_pylist(rows, schema=_SCHEMA))
