"""What a trial's place is called, and when it is free again."""

from pathlib import Path

import pytest

from tune_sa2va.config import RECIPE, DataSettings, LaneSettings, ModelSettings
from tune_sa2va.lane.group import LaneLostError
from tune_sa2va.lane.host import LaneHost
from tune_sa2va.lane.seat_choice import SeatNews
from tune_sa2va.search.seating import Seating

OTHER = RECIPE.replace({"train.accumulation_steps": 2})


def a_host(seats: int) -> LaneHost:
    settings = LaneSettings(
        model=ModelSettings(model="tiny", precision="fp32"), data=DataSettings(source="x"),
        feature_cache=Path("x"), raw_high_res=False, num_workers=1, use_gpu=False, seats=seats,
    )  # fmt: skip
    return LaneHost(settings, [])


def test_without_hosts_each_actor_has_a_lane() -> None:
    seating = Seating(())
    assert [seating.seat(f"{number:04d}", RECIPE, actor) for number, actor in enumerate("abaca")] == [
        *("lane 1", "lane 2", "lane 1", "lane 3", "lane 1")
    ]


def test_with_hosts_each_place_has_one_trial_at_a_time() -> None:
    hosts = [a_host(2), a_host(2)]
    seating = Seating(hosts)
    found = [seating.seat(name, RECIPE, "any") for name in ("0000", "0001", "0002", "0003")]
    assert sorted(found) == ["lane 1 seat 1", "lane 1 seat 2", "lane 2 seat 1", "lane 2 seat 2"]
    assert seating.seat("0004", RECIPE, "any") == "no lane yet"
    seating.leave("0001")
    assert seating.seat("0005", OTHER, "any") == found[1]
    assert all(host.place_of("0001") is None for host in hosts)
    assert seating.seat("0000", RECIPE, "another") == found[0], "its workers died, and it starts again"


def test_a_host_that_is_dead_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(_: object) -> None:
        raise LaneLostError("The host of a lane died")

    host = a_host(1)
    monkeypatch.setattr(host, "offer", dead)
    assert Seating([host]).seat("0000", RECIPE, "any") == "no lane yet"


def test_what_lanes_say_of_their_seats_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead() -> None:
        raise LaneLostError("The host of a lane died")

    hosts = [a_host(2), a_host(2), a_host(4)]
    monkeypatch.setattr(hosts[1], "news", dead)
    assert Seating(hosts).news() == [(0, SeatNews(seats=2)), (2, SeatNews(seats=4))]
