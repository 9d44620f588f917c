"""What lanes tell of their seats is kept, and tells how many trials run at a time."""

import json
from pathlib import Path

import pytest

from tests.watch.runs import settings_in
from tune_sa2va.results.seats import note_seats, trials_at_a_time
from tune_sa2va.train.records import SeatPace

PACES = [SeatPace(seats=seats, it_per_s=40.0, peak_gib=0.0, estimate_gib=0.0) for seats in (1, 4)]


def test_what_is_told_is_added(tmp_path: Path) -> None:
    note_seats(tmp_path, "lane 1", 4, ["4 trials share each step."], PACES)
    note_seats(tmp_path, "lane 2", 2, ["memory ran out."], [])
    first, second = json.loads((tmp_path / "seats.json").read_text())
    assert (first["lane"], first["seats"], [pace["seats"] for pace in first["paces"]]) == ("lane 1", 4, [1, 4])
    assert (second["lane"], second["said"], second["paces"]) == ("lane 2", ["memory ran out."], [])


def test_lanes_have_the_seats_that_they_told_last(tmp_path: Path) -> None:
    settings = settings_in(tmp_path).model_copy(update={"seats": 4})
    assert trials_at_a_time(settings) == 8
    note_seats(settings.folder, "lane 2", 2, ["memory ran out."], [])
    note_seats(settings.folder, "lane 2", 1, ["memory ran out."], [])
    note_seats(settings.folder, "lane 3", 1, ["memory ran out."], [])
    assert trials_at_a_time(settings) == 4 + 1, "the search went on with fewer lanes"


@pytest.mark.parametrize("damaged", ["{", "null", "[1]", "[{}]", '[{"lane": [], "seats": 1}]'])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damaged: str) -> None:
    settings = settings_in(tmp_path)
    (settings.folder / "seats.json").write_text(damaged)
    assert trials_at_a_time(settings) == 2
    note_seats(settings.folder, "lane 1", 1, ["memory ran out."], [])
    assert len(json.loads((settings.folder / "seats.json").read_text())) == 1
