"""Who sits in a lane and when rounds begin. Owners are threads here; tests/drills/test_seats.py has real workers."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from tune_sa2va.config import RECIPE, DataSettings, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.lane import host as module
from tune_sa2va.lane.group import LaneLostError
from tune_sa2va.lane.host import DAMAGED_FEATURES, DATA_GONE, OUT_OF_MEMORY, SEAT_LOST, LaneHost
from tune_sa2va.lane.hosts import find_place
from tune_sa2va.lane.messages import (
    NO_SEAT,
    Command,
    LeaveSeats,
    ProbeSeats,
    Reply,
    RunRound,
    SetSeats,
    StartTrial,
)
from tune_sa2va.lane.seat_choice import SeatNews
from tune_sa2va.train.records import SeatPace
from tune_sa2va.train.step_kind import step_kind

CONFIG = RECIPE
OTHER = RECIPE.replace({"train.accumulation_steps": 2})
SHORT_S = 0.3
"""Time after which nothing has happened that would have happened."""


class Workers:
    """Seats trials as a worker does, and notes its rounds. A round lasts until `go` is set."""

    def __init__(self, settings: LaneSettings, _: object = None) -> None:
        self.seats, self.alive, self.closed = settings.seats, True, False
        self.sitting: dict[str, TrialConfig] = {}
        self.rounds: list[set[str]] = []
        self.go = threading.Event()
        self.go.set()
        self.answers: list[Callable[[RunRound], Reply]] = []
        """How the next rounds end; after the last, well."""
        self.probed: list[int] = []
        """Numbers of seats with which the pace was measured."""
        self._is_asked = threading.Lock()

    def ask(self, command: Command) -> Reply:
        assert self._is_asked.acquire(blocking=False), "one command at a time"
        try:
            return self._reply(command)
        finally:
            self._is_asked.release()

    def _reply(self, command: Command) -> Reply:
        match command:
            case StartTrial():
                assert command.trial not in self.sitting
                kinds = {step_kind(config) for config in self.sitting.values()}
                if len(self.sitting) == self.seats or not kinds <= {step_kind(command.config)}:
                    return Reply(failure="no seat", kind=NO_SEAT)
                self.sitting[command.trial] = command.config
            case LeaveSeats():
                for name in command.trials:
                    self.sitting.pop(name, None)
            case SetSeats():
                assert not self.sitting
                self.seats = command.seats
            case ProbeSeats():
                assert not self.sitting
                self.seats = command.seats
                self.probed.append(command.seats)
                return self.paces[command.seats]()
            case RunRound():
                self.rounds.append(set(command.trials))
                assert self.rounds[-1] <= set(self.sitting)
                assert self.go.wait(10)
                reply = self.answers.pop(0)(command) if self.answers else self.well(command)
                if reply.failure:
                    self.sitting.clear()
                for name, each in reply.trials.items():
                    if each.failure:
                        del self.sitting[name]
                return reply
        return Reply()

    paces: ClassVar[dict[int, Callable[[], Reply]]] = {}
    """What is measured with how many seats."""

    @staticmethod
    def well(command: RunRound) -> Reply:
        return Reply(trials={name: Reply(record={"epoch": 1}) for name in command.trials})

    def close(self) -> None:
        self.closed, self.alive = True, False


def badly(kind: str) -> Callable[[RunRound], Reply]:
    return lambda _: Reply(failure="It failed.", kind=kind)


def settings(seats: int) -> LaneSettings:
    return LaneSettings(
        model=ModelSettings(model="tiny", precision="fp32"), data=DataSettings(source="x"),
        feature_cache=Path("x"), raw_high_res=False, num_workers=1, use_gpu=False, seats=seats,
    )  # fmt: skip


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> list[Workers]:
    """All lanes that were opened."""
    opened: list[Workers] = []

    def opening(*given: object) -> Workers:
        opened.append(Workers(*given))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(module, "Lane", opening)
    monkeypatch.setattr(module, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(module, "_LOOK_S", 0.02)
    return opened


@pytest.fixture
def owners() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def seated(host: LaneHost, *names: str, config: TrialConfig = CONFIG) -> None:
    for name in names:
        assert host.reserve(name, step_kind(config))
        assert host.start(name, config, ()).failure == ""


def outcomes(owners: ThreadPoolExecutor, host: LaneHost, *names: str) -> list[Future[Reply]]:
    return [owners.submit(host.run, name) for name in names]


def test_a_round_begins_at_once_when_all_have_asked(lanes: list[Workers], owners: ThreadPoolExecutor) -> None:
    host = LaneHost(settings(2), [])
    seated(host, "a", "b")
    began = time.monotonic()
    for asked in (["a", "b"], ["b", "a"]):
        assert [each.result(5).record for each in outcomes(owners, host, *asked)] == [{"epoch": 1}] * 2
        assert not any(host.end_epoch(name).failure for name in asked)
    assert time.monotonic() - began < SHORT_S and lanes[0].rounds == [{"a", "b"}] * 2


def test_with_one_seat_nobody_is_waited_for(lanes: list[Workers]) -> None:
    host = LaneHost(settings(1), [])
    began = time.monotonic()
    for name in "abc":
        seated(host, name)
        assert host.run(name).record is not None
        host.leave(name)
    assert time.monotonic() - began < SHORT_S and lanes[0].rounds == [{"a"}, {"b"}, {"c"}] and len(lanes) == 1


def test_who_comes_late_has_the_next_round_and_is_not_waited_for_twice(
    lanes: list[Workers], owners: ThreadPoolExecutor
) -> None:
    host = LaneHost(settings(2), [])
    seated(host, "a", "b")
    (first,) = outcomes(owners, host, "a")
    with pytest.raises(TimeoutError):
        first.result(SHORT_S)
    assert first.result(5).record is not None and lanes[0].rounds == [{"a"}]
    began = time.monotonic()
    assert host.run("a").record is not None and time.monotonic() - began < SHORT_S
    lanes[0].go.clear()
    (running,) = outcomes(owners, host, "a")
    wait_for(lambda: len(lanes[0].rounds) == 3)
    (late,) = outcomes(owners, host, "b")
    lanes[0].go.set()
    assert running.result(5).record is not None
    assert host.run("a").record is not None and late.result(5).record is not None
    assert lanes[0].rounds[3:] == [{"a", "b"}], "b waited for a, which was in the round before"


def test_a_place_that_becomes_free_is_filled_at_the_next_round(
    lanes: list[Workers], owners: ThreadPoolExecutor
) -> None:
    host = LaneHost(settings(2), [])
    seated(host, "a", "b")
    [each.result(5) for each in outcomes(owners, host, "a", "b")]
    host.leave("b")
    (waiting,) = outcomes(owners, host, "a")
    seated(host, "c")
    assert host.run("c").record is not None and waiting.result(5).record is not None
    assert lanes[0].rounds == [{"a", "b"}, {"a", "c"}] and set(lanes[0].sitting) == {"a", "c"}


def test_another_kind_waits_until_all_have_left_and_is_passed_by_in_few_rounds(
    lanes: list[Workers], owners: ThreadPoolExecutor
) -> None:
    host = LaneHost(settings(3), [])
    seated(host, "a", "b")
    assert host.reserve("other", step_kind(OTHER))
    waiting = owners.submit(host.start, "other", OTHER, ())
    for number in range(5):
        newcomer, before = f"n{number}", f"n{number - 1}" if number else "b"
        host.leave(before)
        assert host.reserve(newcomer, step_kind(CONFIG))
        starting = owners.submit(host.start, newcomer, CONFIG, ())
        if number == module._ROUNDS_PASSED_BY:
            with pytest.raises(TimeoutError):
                starting.result(SHORT_S)
            break
        assert starting.result(5).failure == ""
        [each.result(5) for each in outcomes(owners, host, "a", newcomer)]
    host.leave("a")
    assert waiting.result(5).failure == "" and set(lanes[0].sitting) == {"other"}
    host.leave("other")
    assert starting.result(5).failure == "", "and then the one that had to wait for it"


def test_a_trial_that_fails_costs_its_own_seat(lanes: list[Workers], owners: ThreadPoolExecutor) -> None:
    host = LaneHost(settings(2), [])
    seated(host, "a", "b")
    nan = Reply(failure="not finite", kind="NonFiniteError")
    lanes[0].answers = [lambda command: Reply(trials=dict(Workers.well(command).trials) | {"b": nan})]
    good, bad = outcomes(owners, host, "a", "b")
    assert bad.result(5) == nan and good.result(5).record is not None
    host.leave("b")
    seated(host, "c")
    assert [each.result(5).failure for each in outcomes(owners, host, "a", "c")] == ["", ""]


def again(owners: ThreadPoolExecutor, host: LaneHost, *names: str) -> list[Reply]:
    """What owners get that start again from their checkpoints when their seats are lost."""

    def whole(name: str) -> Reply:
        while (reply := host.run(name)).kind == SEAT_LOST:
            host.leave(name)
            wait_for(lambda: host.reserve(name, step_kind(CONFIG)) is not None)
            if (reply := host.start(name, CONFIG, ())).failure:
                return reply
        host.leave(name)
        return reply

    return [each.result(10) for each in [owners.submit(whole, name) for name in names]]


def test_where_memory_runs_out_there_are_fewer_seats(lanes: list[Workers], owners: ThreadPoolExecutor) -> None:
    host = LaneHost(settings(4), [])
    seated(host, "a", "b", "c", "d")
    lanes[0].answers = [badly(OUT_OF_MEMORY)]
    assert [reply.failure for reply in again(owners, host, "a", "b", "c", "d")] == [""] * 4
    assert lanes[0].seats == 2 and all(len(names) <= 2 for names in lanes[0].rounds[1:])
    news = host.news()
    assert (news.seats, news.notes, news.paces) == (2, (), ())
    assert news.warnings == ("memory ran out with 4 trials in a step, so at most 2 share one from now on.",)
    lanes[0].answers = [badly(OUT_OF_MEMORY)] * 2
    seated(host, "e")
    assert again(owners, host, "e")[0].kind == OUT_OF_MEMORY, "alone there is no other way"
    assert lanes[0].seats == 1
    assert host.news() == SeatNews(
        seats=1, warnings=("memory ran out with 2 trials in a step, so one trial trains at a time from now on.",)
    )
    assert host.news() == SeatNews(seats=1), "it tells everything once"


def test_who_spoils_a_whole_round_is_found_and_the_others_go_on(
    lanes: list[Workers], owners: ThreadPoolExecutor
) -> None:
    host = LaneHost(settings(3), [])
    seated(host, "a", "bad", "c")
    spoils = lambda command: badly("ValueError")(command) if "bad" in command.trials else Workers.well(command)  # noqa: E731
    lanes[0].answers = [spoils] * 9
    replies = again(owners, host, "a", "bad", "c")
    assert [reply.kind for reply in replies] == ["", "ValueError", ""]


@pytest.mark.parametrize("kind", [DATA_GONE, DAMAGED_FEATURES])
def test_what_is_no_trials_fault_is_told_to_all(lanes: list[Workers], owners: ThreadPoolExecutor, kind: str) -> None:
    host = LaneHost(settings(2), [])
    seated(host, "a", "b")
    lanes[0].answers = [badly(kind)]
    assert [each.result(5).kind for each in outcomes(owners, host, "a", "b")] == [kind] * 2
    assert lanes[0].closed == (kind == DAMAGED_FEATURES)
    for name in "ab":
        host.leave(name)
    seated(host, "a")
    assert len(lanes) == 1 + (kind == DAMAGED_FEATURES)


def test_lost_workers_are_told_to_each_and_the_next_trial_opens_the_lane_again(
    lanes: list[Workers], owners: ThreadPoolExecutor
) -> None:
    host = LaneHost(settings(3), [])
    seated(host, "a", "b", "c")

    def die(_: RunRound) -> Reply:
        lanes[0].alive = False
        raise LaneLostError("The workers of a lane died")

    lanes[0].answers = [die]
    for each in outcomes(owners, host, "a", "b"):
        with pytest.raises(LaneLostError):
            each.result(5)
    with pytest.raises(LaneLostError):
        host.end_epoch("c")
    host.leave("a")
    assert host.offer(step_kind(CONFIG))[0] == 4, "after all that are open"
    seated(host, "a")
    assert len(lanes) == 2 and set(lanes[1].sitting) == {"a"}


def test_the_place_of_a_silent_owner_is_given_to_another(lanes: list[Workers], monkeypatch: pytest.MonkeyPatch) -> None:
    host = LaneHost(settings(1), [])
    seated(host, "stopped")
    assert not host.reserve("a", step_kind(CONFIG))
    monkeypatch.setattr(module, "_IDLE_S", 0.05)
    time.sleep(0.1)
    seated(host, "a")
    assert set(lanes[0].sitting) == {"a"}
    assert host.run("stopped").kind == SEAT_LOST and host.run("a").record is not None


def test_a_trial_that_comes_again_takes_its_own_place(lanes: list[Workers], owners: ThreadPoolExecutor) -> None:
    """Its first owner died in the round; Tune has started it in another."""
    host = LaneHost(settings(1), [])
    seated(host, "a")
    lanes[0].go.clear()
    (dead,) = outcomes(owners, host, "a")
    wait_for(lambda: bool(lanes[0].rounds))
    assert host.reserve("a", step_kind(CONFIG))
    starting = owners.submit(host.start, "a", CONFIG, ())
    lanes[0].go.set()
    dead.result(5)
    assert starting.result(5).failure == "" and host.run("a").record is not None


def test_a_trial_goes_where_its_kind_sits_then_where_nobody_does(lanes: list[Workers]) -> None:
    hosts = [LaneHost(settings(2), []) for _ in range(3)]

    def place(name: str, config: TrialConfig) -> int:
        found = find_place(hosts, name, config)
        if hosts[hosts.index(found)].offer(step_kind(config))[0] < 3:  # it need not wait
            assert found.start(name, config, ()).failure == ""
        return hosts.index(found)

    assert [place("a", CONFIG), place("b", OTHER)] == [0, 1]
    assert [place("c", OTHER), place("d", CONFIG)] == [1, 0]
    assert place("e", CONFIG) == 2
    hosts[1].leave("b")
    assert place("f", OTHER) == 1 and place("g", OTHER) == 2, "all others are full, so it waits beside another kind"


def pace(seats: int, it_per_s: float) -> Callable[[], Reply]:
    measured = SeatPace(seats=seats, it_per_s=it_per_s, peak_gib=20.0 + seats, estimate_gib=20.5 + seats)
    return lambda: Reply(pace=measured)


def fails(kind: str) -> Callable[[], Reply]:
    return lambda: Reply(failure="It failed.", kind=kind)


def a_probing_host() -> LaneHost:
    return LaneHost(settings(4).model_copy(update={"seats_probe": CONFIG}), [])


@pytest.mark.parametrize(
    ("paces", "probed", "seats", "note", "warning"),
    [
        (
            {1: pace(1, 40.0), 4: pace(4, 60.0)}, [1, 4], 4,
            "4 trials share each step, as 60.0 images a second were trained with 4 and 40.0 with one; peak 24.0 GiB "
            "with 4, 24.5 by the estimate.", "",
        ),
        (
            {1: pace(1, 40.0), 4: pace(4, 43.9)}, [1, 4], 1,
            "one trial at a time, as 43.9 images a second were trained with 4 and 40.0 with one; peak 24.0 GiB with 4, "
            "24.5 by the estimate.", "",
        ),
        (
            {1: pace(1, 40.0), 4: fails(OUT_OF_MEMORY), 2: pace(2, 44.0)}, [1, 4, 2], 2,
            "2 trials share each step (memory ran out with 4), as 44.0 images a second were trained with 2 and 40.0 "
            "with one; peak 22.0 GiB with 2, 22.5 by the estimate.", "",
        ),
        (
            {1: pace(1, 40.0), 4: fails(OUT_OF_MEMORY), 2: fails(OUT_OF_MEMORY)}, [1, 4, 2], 1, "",
            "seats could not be measured (It failed), so one trial trains at a time.",
        ),
        (
            {1: fails("NonFiniteError")}, [1], 1, "",
            "seats could not be measured (It failed), so one trial trains at a time.",
        ),
    ],
    ids=["faster", "not faster", "half", "no memory", "a fault"],
)  # fmt: skip
def test_a_lane_takes_as_many_seats_as_it_measured_to_be_faster(
    lanes: list[Workers], monkeypatch: pytest.MonkeyPatch,
    paces: dict[int, Callable[[], Reply]], probed: list[int], seats: int, note: str, warning: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(Workers, "paces", paces)
    host = a_probing_host()
    assert host.news() == SeatNews(seats=1), "until it knows"
    assert host.reserve("a", step_kind(CONFIG)) == 1 and host.reserve("b", step_kind(CONFIG)) is None
    assert host.start("a", CONFIG, ()).failure == ""
    assert lanes[0].probed == probed and lanes[0].seats == seats and set(lanes[0].sitting) == {"a"}
    news = host.news()
    assert (news.seats, news.notes, news.warnings) == (seats, (note,) * bool(note), (warning,) * bool(warning))
    assert [measured.seats for measured in news.paces] == ([1, probed[-1]] if note else [])
    assert [bool(host.reserve(name, step_kind(CONFIG))) for name in "bcde"] == [
        seats > number for number in range(1, 5)
    ]
    lanes[0].alive = False
    host.leave("a")
    seated(host, "f")
    assert lanes[1].probed == [] and lanes[1].seats == seats, "a lane that opens again has what it measured"


def test_the_first_round_waits_for_trials_that_could_not_be_asked_for_before(
    lanes: list[Workers], owners: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workers, "paces", {1: pace(1, 40.0), 4: pace(4, 60.0)})
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(module, "_PATIENCE_AFTER_PROBE_S", 5.0)
    host = a_probing_host()
    seated(host, "a")
    (first,) = outcomes(owners, host, "a")
    with pytest.raises(TimeoutError):
        first.result(SHORT_S)
    seated(host, "b", "c", "d")
    [each.result(5) for each in (first, *outcomes(owners, host, "b", "c", "d"))]
    assert lanes[0].rounds == [{"a", "b", "c", "d"}]
    host.leave("d")
    [each.result(2) for each in outcomes(owners, host, "a", "b", "c")]
    assert lanes[0].rounds[1:] == [{"a", "b", "c"}], "later rounds do not wait as long"


@pytest.mark.parametrize("kind", [DATA_GONE, DAMAGED_FEATURES])
def test_images_that_are_gone_are_no_measurement(
    lanes: list[Workers], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(Workers, "paces", {1: pace(1, 40.0), 4: fails(kind)})
    host = a_probing_host()
    assert host.reserve("a", step_kind(CONFIG))
    assert host.start("a", CONFIG, ()).kind == kind and host.news() == SeatNews(seats=1)
    assert lanes[0].closed == (kind == DAMAGED_FEATURES), "an open lane does not encode anew what is damaged"
    monkeypatch.setattr(Workers, "paces", {1: pace(1, 40.0), 4: pace(4, 60.0)})
    assert host.start("a", CONFIG, ()).failure == "" and host.news().seats == 4


def test_workers_that_die_while_seats_are_measured_do_so_once(
    lanes: list[Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> Reply:
        lanes[0].alive = False
        raise LaneLostError("The workers of a lane died")

    monkeypatch.setattr(Workers, "paces", {1: pace(1, 40.0), 4: die})
    host = a_probing_host()
    assert host.reserve("a", step_kind(CONFIG))
    with pytest.raises(LaneLostError):
        host.start("a", CONFIG, ())
    seated(host, "a")
    assert lanes[1].probed == [] and lanes[1].seats == 1
    assert host.news().warnings == ("its workers died with 4 trials in a step, so one trains at a time.",)


def wait_for(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
