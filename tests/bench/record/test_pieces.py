"""The files of single runs, and the recording that is made of them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune_sa2va.bench.record.pieces import PIECES, gather, read_recording, run_seconds, write_piece, write_recording
from tune_sa2va.bench.record.plan import Run
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.metrics import Counts

CODES = [("img-a", "grp-1"), ("img-b", "grp-2"), ("img-c", "grp-1")]


def test_pieces_come_back_as_one_table(tmp_path: Path) -> None:
    (tmp_path / PIECES).mkdir()
    first, second, missing = Run(0, 1, 0), Run(2, 0, 1), Run(1, 0, 0)
    write_piece(tmp_path, second, [1], [[Counts(5, 6, 7, 8)]], seconds=2.5)
    epochs = [[Counts(1, 2, 3, 4), Counts(4, 3, 2, 1)], [Counts(2, 2, 2, 4), Counts(9, 0, 0, 1)]]
    write_piece(tmp_path, first, [0, 2], epochs, seconds=1.0)
    table = gather(tmp_path, [second, missing, first], CODES)
    write_recording(tmp_path / "all.parquet", table)
    rows = read_recording(tmp_path / "all.parquet").to_pylist()
    assert [(row["configuration"], row["seed"], row["fold"], row["epoch"]) for row in rows] == [
        (0, 0, 1, 1), (0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 1, 2), (2, 1, 0, 1),
    ]  # fmt: skip
    assert [row["image_code"] for row in rows] == ["img-a", "img-c", "img-a", "img-c", "img-b"]
    assert [row["group_code"] for row in rows] == ["grp-1", "grp-1", "grp-1", "grp-1", "grp-2"]
    assert [rows[3][part] for part in ("tp", "fp", "fn", "tn")] == [9, 0, 0, 1]
    assert run_seconds(tmp_path, second) == 2.5


def test_a_run_that_failed_at_once_leaves_a_piece_without_rows(tmp_path: Path) -> None:
    (tmp_path / PIECES).mkdir()
    write_piece(tmp_path, Run(0, 0, 0), [0, 1], [], seconds=0.1)
    assert gather(tmp_path, [Run(0, 0, 0)], CODES).num_rows == 0


def test_another_table_is_no_recording(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(ResultsError, match="must have the columns of a recording, got a"):
        read_recording(tmp_path / "t.parquet")
    (tmp_path / "u.parquet").write_bytes(b"no")
    with pytest.raises(ResultsError, match="cannot be read as a recording"):
        read_recording(tmp_path / "u.parquet")
