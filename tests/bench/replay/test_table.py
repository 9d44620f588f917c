"""The table of outcomes."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tune_sa2va.bench.replay.play import Outcome
from tune_sa2va.bench.replay.table import row_of, write_rows


def outcome(gain: float, *, is_recipe: bool = False) -> Outcome:
    return Outcome(gain=gain, true_gain=gain / 2, regret=0.01, epochs=100, stood=is_recipe, is_recipe=is_recipe)


def test_worse_is_by_more_than_half_a_percent(tmp_path: Path) -> None:
    row = row_of("set", "rule", [outcome(-0.006), outcome(-0.004), outcome(0.03), outcome(0.0, is_recipe=True)])
    assert (row.worse, row.recipe, row.epochs) == (0.25, 0.25, 100)
    assert row.gain == pytest.approx(0.005)
    write_rows(tmp_path, [row])
    assert pq.read_table(tmp_path / "table.parquet").to_pylist()[0]["worse"] == 0.25
    assert "| rule | 4 | 25.0% | 0.0% | +0.0050 ± " in (tmp_path / "table.md").read_text()
