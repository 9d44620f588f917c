"""Counts of the validation images: only of these, and once for an epoch that ran again."""

from pathlib import Path

import pyarrow.parquet as pq

from tests.train.bench import lane_settings
from tune_sa2va.data.split_file import read_names
from tune_sa2va.results.val_counts import ValCounts


def test_an_epoch_that_a_kill_took_back_is_replaced(tmp_path: Path) -> None:
    lane_settings(tmp_path)
    images = [row["image_code"] for row in read_names(tmp_path) if row["split"] == "val"]
    counts = ValCounts(tmp_path)
    for epoch in (1, 2, 3):
        counts.epoch("0000", epoch, [(epoch, 2, 3, 4), (5, 6, 7, 8)])
    counts.epoch("0000", 2, [(9, 2, 3, 4), (5, 6, 7, 8)])
    rows = pq.read_table(tmp_path / "val_counts" / "0000.parquet").to_pylist()
    assert [(row["epoch"], row["image_code"]) for row in rows] == [(e, code) for e in (1, 2) for code in images]
    assert [(row["tp"], row["fp"], row["fn"], row["tn"]) for row in rows][2:] == [(9, 2, 3, 4), (5, 6, 7, 8)]
