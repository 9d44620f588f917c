"""The records of a search: `trials.parquet` and `epochs.parquet` in its results folder, rewritten with every change.

There is one row per trial (every field of its configuration as a column, such as `lora.r`, then its outcome), and one
row per trial and epoch (the fields of `EpochRecord`). Reruns that confirm the search's best are rows, too, marked by
`kind` and with the trial that they repeat as `parent`; the readers here omit them by default. Schemas are fixed, and
their version is in the files' metadata. Each change replaces a whole file by rename, so that a kill at any moment
leaves readable files. With 1,000 trials of 15 epochs this takes 50 ms.

Imports neither Ray nor torch: reports read these files on any machine.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.durable_table import write_table
from tune_sa2va.errors import ResultsError
from tune_sa2va.results.best import best_epoch
from tune_sa2va.train.records import EpochRecord

TRIALS_FILE = "trials.parquet"
EPOCHS_FILE = "epochs.parquet"
SCHEMA_VERSION = 5
"""Version of both files; increased when a column is added, renamed or removed."""

_VERSION_KEY = b"tune_sa2va.schema_version"
_OLDER_VERSIONS = ("2", "3", "4")
"""Versions that lack columns whose values are known: in 2 there were no reruns, in 2 and 3 every trial trained one
adapter, had the recipe's values in the fields added later, and had none of the losses added later, and in all of them
every trial had its lane alone."""

_TIME = pa.timestamp("ms", tz="UTC")


class TrialKind(StrEnum):
    """Why a trial ran."""

    SEARCH = "search"
    CONFIRMATION = "confirmation"
    """A rerun of `parent`, one of the best, to the last epoch with another `train.seed`."""


class TrialState(StrEnum):
    """The state of a trial. The last three are final."""

    WAITING = "WAITING"
    """Proposed, or running when the search was interrupted; a resumed search continues it."""
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    """All its epochs were run."""
    STOPPED = "STOPPED"
    """Ended early by ASHA or by the time budget: others were better."""
    FAILED = "FAILED"
    """It could not continue; `failure` says why."""


FINAL_STATES = (TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED)


def _column_type(value: Any) -> pa.DataType:
    if isinstance(value, list):
        return pa.list_(pa.string())
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}[type(value)]


def _trials_schema() -> pa.Schema:
    outcome = {
        "state": pa.string(),
        "epochs": pa.int64(),
        "best_val_dice": pa.float64(),
        "best_epoch": pa.int64(),
        "last_val_dice": pa.float64(),
        "seconds": pa.float64(),
        "peak_gib": pa.float64(),
        "failure": pa.string(),
        "started_at": _TIME,
        "ended_at": _TIME,
        "lane": pa.string(),
    }
    config = {path: _column_type(value) for path, value in RECIPE.flat().items()}
    who = {"trial_id": pa.string(), "number": pa.int64(), "kind": pa.string(), "parent": pa.string()}
    return _versioned(who | config | outcome)


def _epochs_schema() -> pa.Schema:
    kinds: dict[Any, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    record = {field.name: kinds[field.type] for field in dataclasses.fields(EpochRecord)}
    who = {"trial_id": pa.string(), "kind": pa.string()}
    return _versioned(who | record | {"lane": pa.string(), "ended_at": _TIME})


def _versioned(columns: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(columns.items()), metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()})


TRIALS_SCHEMA = _trials_schema()
EPOCHS_SCHEMA = _epochs_schema()


class RunRecords:
    """The records of one search. Only one process may write them; others may read the files at any time."""

    def __init__(self, folder: Path, trials: dict[str, dict[str, Any]], epochs: dict[tuple[str, int], dict[str, Any]]):
        self._folder = folder
        self._trials = trials
        self._epochs = epochs

    @classmethod
    def open(cls, folder: Path) -> "RunRecords":
        """Opens the records in a folder, or starts new ones. Trials recorded as RUNNING become WAITING.

        Raises:
            UserError: a file is damaged or of another version.
        """
        folder.mkdir(parents=True, exist_ok=True)
        trials = {row["trial_id"]: row for row in _read(folder / TRIALS_FILE, TRIALS_SCHEMA)}
        epochs = {(row["trial_id"], row["epoch"]): row for row in _read(folder / EPOCHS_FILE, EPOCHS_SCHEMA)}
        for row in trials.values():
            if row["state"] == TrialState.RUNNING:
                row["state"] = str(TrialState.WAITING)
        # Epochs of a trial whose row was lost with a damaged table are dropped: the trial is proposed again, or its
        # epochs are reported again.
        epochs = {key: row for key, row in epochs.items() if key[0] in trials}
        records = cls(folder, trials, epochs)
        # An epoch's row is written before its trial's summary, so after a kill between the two the summary is outdated.
        # An ended trial keeps its summary, which names the epoch whose checkpoint was kept.
        for trial_id, row in trials.items():
            if row["state"] not in FINAL_STATES:
                records._sum_up(trial_id)
        records._write_epochs()
        records._write_trials()
        return records

    def trial_started(
        self, trial_id: str, number: int, config: TrialConfig, lane: str, *, parent: str | None = None
    ) -> None:
        """Records that a trial runs in a lane, for the first time or again. Its epochs so far are kept.

        parent: for a rerun, the trial whose configuration it confirms; None for a trial of the search.
        """
        before = self._trials.get(trial_id)
        started_at = before["started_at"] if before else _now()
        row = dict.fromkeys(TRIALS_SCHEMA.names) | {"trial_id": trial_id, "number": number} | config.flat()
        row |= {"kind": str(TrialKind.CONFIRMATION if parent else TrialKind.SEARCH), "parent": parent}
        row |= {"state": str(TrialState.RUNNING), "failure": "", "started_at": started_at, "lane": lane}
        self._trials[trial_id] = row
        self._sum_up(trial_id)
        self._write_trials()

    def epoch(self, trial_id: str, record: Mapping[str, Any]) -> None:
        """Records that an epoch of a started trial is done.

        An epoch that ran again after a restore replaces its row. One that is only reported again from a lane's store
        leaves its row unchanged, with lane and time.

        record: the fields of `EpochRecord` and no others (`dataclasses.asdict`).

        Raises:
            ValueError: `record` has other fields.
        """
        trial = self._trials[trial_id]
        row = {"trial_id": trial_id, "kind": trial["kind"], **record, "lane": trial["lane"], "ended_at": _now()}
        if row.keys() != set(EPOCHS_SCHEMA.names):
            raise ValueError(f"not an epoch record: {sorted(row.keys() ^ set(EPOCHS_SCHEMA.names))} missing or unknown")
        known = self._epochs.get((trial_id, record["epoch"]))
        if known is not None and all(known[name] == value for name, value in record.items()):
            return
        self._epochs[trial_id, record["epoch"]] = row
        self._sum_up(trial_id)
        self._write_epochs()
        self._write_trials()

    def trial_ended(self, trial_id: str, state: TrialState, failure: str = "") -> None:
        """Records that a started trial has ended, or waits for a resumed search.

        failure: why it failed; must be given for FAILED and only then.

        Raises:
            ValueError: `failure` and `state` do not go together.
        """
        if (state is TrialState.FAILED) != bool(failure):
            raise ValueError(f"a reason belongs to FAILED and to nothing else, got {state} with {failure!r}")
        self._trials[trial_id] |= {"state": str(state), "failure": failure, "ended_at": _now()}
        self._write_trials()

    def keep_only(self, trial_ids: Collection[str]) -> None:
        """Removes all other trials."""
        self._trials = {trial_id: row for trial_id, row in self._trials.items() if trial_id in trial_ids}
        self._epochs = {key: row for key, row in self._epochs.items() if key[0] in trial_ids}
        self._write_epochs()
        self._write_trials()

    def best_epochs(self) -> dict[str, int | None]:
        """Trial -> the epoch that counts (`results.best`); None for a trial without one."""
        return {trial_id: row["best_epoch"] for trial_id, row in self._trials.items()}

    def trials(self) -> pd.DataFrame:
        """One row per trial, in the order in which they started."""
        return self._trials_table().to_pandas()

    def epochs(self) -> pd.DataFrame:
        """One row per trial and epoch, trials in the order in which they started."""
        return self._epochs_table().to_pandas()

    def _sum_up(self, trial_id: str) -> None:
        """Computes a trial's summary from its epochs."""
        rows = sorted((row for (owner, _), row in self._epochs.items() if owner == trial_id), key=lambda r: r["epoch"])
        if not rows:
            self._trials[trial_id] |= {"epochs": 0, "seconds": 0.0, "peak_gib": 0.0}
            return
        best = best_epoch(rows)
        self._trials[trial_id] |= {
            "epochs": rows[-1]["epoch"],
            "best_val_dice": None if best is None else self._epochs[trial_id, best]["val_dice"],
            "best_epoch": best,
            "last_val_dice": rows[-1]["val_dice"],
            "seconds": math.fsum(row["seconds"] for row in rows),
            "peak_gib": max(row["peak_gib"] for row in rows),
        }

    def _trials_table(self) -> pa.Table:
        return _table(list(self._trials.values()), TRIALS_SCHEMA)

    def _epochs_table(self) -> pa.Table:
        order = {trial_id: place for place, trial_id in enumerate(self._trials)}
        return _table(
            [self._epochs[key] for key in sorted(self._epochs, key=lambda k: (order[k[0]], k[1]))], EPOCHS_SCHEMA
        )

    def _write_trials(self) -> None:
        write_table(self._folder / TRIALS_FILE, self._trials_table())

    def _write_epochs(self) -> None:
        write_table(self._folder / EPOCHS_FILE, self._epochs_table())


def read_trials(folder: Path, kind: TrialKind | None = TrialKind.SEARCH) -> pd.DataFrame:
    """`trials.parquet` of a results folder as the search last wrote it. kind: of the trials; None for all.

    An empty frame if the search has not written it yet.

    Raises:
        ResultsError: the file is gone, damaged or of another version.
    """
    return _table(_of_kind(_read(folder / TRIALS_FILE, TRIALS_SCHEMA), kind), TRIALS_SCHEMA).to_pandas()


def read_epochs(folder: Path, kind: TrialKind | None = TrialKind.SEARCH) -> pd.DataFrame:
    """`epochs.parquet` of a results folder as the search last wrote it. kind: of the trials; None for all.

    An empty frame if the search has not written it yet.

    Raises:
        ResultsError: the file is gone, damaged or of another version.
    """
    return _table(_of_kind(_read(folder / EPOCHS_FILE, EPOCHS_SCHEMA), kind), EPOCHS_SCHEMA).to_pandas()


def lane_seconds(epochs: pd.DataFrame) -> pd.Series:
    """Each epoch's share of its lane's time in seconds. epochs: as `read_epochs` returns them."""
    return epochs["seconds"] / epochs["seated"]


def _of_kind(rows: list[dict[str, Any]], kind: TrialKind | None) -> list[dict[str, Any]]:
    return [row for row in rows if kind is None or row["kind"] == kind]


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    # Built column by column, which is twice as fast as Table.from_pylist.
    columns = [pa.array([row[field.name] for row in rows], type=field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _read(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of one of the two files; none if the search has not written it yet."""
    if not path.is_file():
        if _is_gone(path):
            raise ResultsError(
                f"{path}: is gone, though the search has run. Put back a copy of it, or continue with --resume, which "
                "takes the one of the last snapshot."
            )
        return []
    try:
        # Read all bytes first: a running search may replace the file, and pyarrow opens a path more than once.
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        version = (table.schema.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace")
        if version in _OLDER_VERSIONS:
            version, table = str(SCHEMA_VERSION), _with_later_columns(table, schema)
        is_ours = version == str(SCHEMA_VERSION) and table.schema.equals(schema)
        rows: list[dict[str, Any]] = table.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:  # last two: invalid text or time
        raise ResultsError(
            f"{path}: damaged or not readable ({str(error).splitlines()[0]}). "
            "Put back a copy of it (--resume takes the one of the last snapshot), or run the search again under "
            "another --name."
        ) from error
    if not is_ours:
        raise ResultsError(
            f"{path}: must have schema version {SCHEMA_VERSION}, got {version}: another tune_sa2va wrote it. "
            "Read it with that one, or run the search again under another --name."
        )
    return rows


def _is_gone(path: Path) -> bool:
    """Whether a missing table was deleted and not just not written yet.

    A search writes both tables before its first trial, epochs first, and every trial with an epoch has a checkpoint.
    """
    if path.name == EPOCHS_FILE and path.with_name(TRIALS_FILE).is_file():
        return True
    epochs = path.with_name(EPOCHS_FILE)
    if path.name == TRIALS_FILE and epochs.is_file() and _read(epochs, EPOCHS_SCHEMA):
        return True
    return any((path.parent / "ray" / "checkpoints").glob("*/checkpoint_*"))


def _with_later_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table of an older version, with the missing columns added."""
    given: dict[str, Any] = {"kind": str(TrialKind.SEARCH), "parent": None, "micro_batch_size": None, "seated": 1.0}
    given |= {"folds": 1, "folds_left": 0, "train_loss_cldice": 0.0, "train_loss_focal_tversky": 0.0}
    given |= RECIPE.flat()
    for place, field in enumerate(schema):
        if field.name in given and field.name not in table.column_names:
            column = pa.array([given[field.name]] * table.num_rows, type=field.type)
            table = table.add_column(place, field, column)
    return table.replace_schema_metadata(schema.metadata)


def _now() -> datetime:
    return datetime.now(UTC)
