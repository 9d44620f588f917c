"""The files of a recording: a small file per run while it is made, one Parquet file of all runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.bench.record.plan import Run
from tune_sa2va.durable_table import write_table
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.metrics import Counts

PIECES = "pieces"
CONFIGURATIONS_FILE = "configurations.parquet"
"""A row per configuration; beside the recording."""
SPACE_FILE = "space.yaml"
"""A copy of the search space from which the configurations were drawn; beside the recording."""

_COUNTS = ("tp", "fp", "fn", "tn")
_PIECE = pa.schema([("epoch", pa.int16()), ("sample", pa.int32()), *((part, pa.int32()) for part in _COUNTS)])
_SCHEMA = pa.schema(
    [
        ("configuration", pa.int16()),
        ("seed", pa.int8()),
        ("fold", pa.int8()),
        ("epoch", pa.int16()),
        ("image_code", pa.dictionary(pa.int16(), pa.string())),
        ("group_code", pa.dictionary(pa.int16(), pa.string())),
        *((part, pa.int32()) for part in _COUNTS),
    ],
    metadata={"schema_version": "1"},
)


def piece_path(folder: Path, run: Run) -> Path:
    """The file of a run's counts; it exists once the run is done."""
    return folder / PIECES / f"{run.name}.parquet"


def write_piece(
    folder: Path, run: Run, samples: Sequence[int], epochs: Sequence[Sequence[Counts]], *, seconds: float
) -> None:
    """Writes the counts of a run. samples: their numbers. epochs: counts of the samples, for each finished epoch.

    seconds: duration of the run, with others in parallel.
    """
    rows = [
        (epoch, sample, image.tp, image.fp, image.fn, image.tn)
        for epoch, counts in enumerate(epochs, start=1)
        for sample, image in zip(samples, counts, strict=True)
    ]
    columns = zip(*rows, strict=True) if rows else [()] * len(_PIECE)
    table = pa.Table.from_arrays(
        [pa.array(column, type=field.type) for column, field in zip(columns, _PIECE, strict=True)], schema=_PIECE
    )
    table = table.replace_schema_metadata({"seconds": f"{seconds:.2f}"})
    write_table(piece_path(folder, run), table, compression="zstd")


def run_seconds(folder: Path, run: Run) -> float:
    """The duration of a finished run."""
    return float(pq.read_schema(piece_path(folder, run)).metadata[b"seconds"])


def gather(folder: Path, runs: Iterable[Run], codes: Sequence[tuple[str, str]]) -> pa.Table:
    """A table of all finished runs, in order of configuration, seed, fold and epoch.

    codes: (image code, group code) of each sample. A failed run has fewer epochs than the others.
    """
    tables = []
    for run in sorted(runs, key=lambda run: (run.configuration, run.seed, run.fold)):
        path = piece_path(folder, run)
        if not path.exists():
            continue
        piece = pq.read_table(path)
        samples = piece["sample"].to_pylist()
        count = len(samples)
        columns = [
            pa.array(np.full(count, run.configuration, dtype=np.int16)),
            pa.array(np.full(count, run.seed, dtype=np.int8)),
            pa.array(np.full(count, run.fold, dtype=np.int8)),
            piece["epoch"].combine_chunks(),
            *(pa.array([codes[sample][place] for sample in samples], pa.string()).cast(_SCHEMA.field(field).type)
              for place, field in enumerate(("image_code", "group_code"))),
            *(piece[part].combine_chunks() for part in _COUNTS),
        ]  # fmt: skip
        tables.append(pa.Table.from_arrays(columns, schema=_SCHEMA))
    return pa.concat_tables(tables).unify_dictionaries() if tables else _SCHEMA.empty_table()


def write_recording(path: Path, table: pa.Table) -> None:
    """Writes a small Parquet file: counts in neighbouring rows are similar, so their differences are stored."""
    write_table(
        path, table, compression="zstd", compression_level=15, version="2.6",
        use_dictionary=["configuration", "seed", "fold", "epoch", "image_code", "group_code"],
        column_encoding=dict.fromkeys(_COUNTS, "DELTA_BINARY_PACKED"),
    )  # fmt: skip


def read_recording(path: Path) -> pa.Table:
    """The table that `write_recording` wrote.

    Raises:
        ResultsError: the file is not a recording.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(
            f"{path}: cannot be read as a recording ({str(error).splitlines()[0]}). "
            "Give a file that `python -m tune_sa2va.bench record` wrote."
        ) from error
    if table.column_names != _SCHEMA.names:
        raise ResultsError(
            f"{path}: must have the columns of a recording, got {', '.join(table.column_names[:4])}, ... "
            "Give a file that `python -m tune_sa2va.bench record` wrote."
        )
    return table
