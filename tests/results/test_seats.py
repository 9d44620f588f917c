"""Every lane's measurement is kept, also beside a damaged file."""

import json
from pathlib import Path

from tune_sa2va.results.seats import note_measured
from tune_sa2va.train.records import SeatPace

PACES = [SeatPace(seats=seats, it_per_s=40.0, peak_gib=0.0, estimate_gib=0.0) for seats in (1, 4)]


def test_measurements_are_added(tmp_path: Path) -> None:
    for lane in ("lane 1", "lane 2"):
        note_measured(tmp_path, lane, 4, PACES)
    rows = json.loads((tmp_path / "seats.json").read_text())
    assert [(row["lane"], row["seats"], [pace["seats"] for pace in row["paces"]]) for row in rows] == [
        ("lane 1", 4, [1, 4]), ("lane 2", 4, [1, 4]),
    ]  # fmt: skip
    (tmp_path / "seats.json").write_text("{")
    note_measured(tmp_path, "lane 3", 1, PACES)
    assert [row["lane"] for row in json.loads((tmp_path / "seats.json").read_text())] == ["lane 3"]
