"""Who sits in a lane, and when its next round begins: one epoch of all trials that sit there.

A host owns one lane. The owners of trials call it, each from its own thread. With one seat it is an object of its only
owner; with several it is an actor (`lane.hosts`) and survives each of its owners.

A trial reserves a place first. It sits as soon as a seat is free beside trials of its kind. Nothing waits for ever:

- A round begins when all who sit have asked for it, or some seconds after the first has (`_patience_s`). Who comes
  later has the next one, and until then nobody waits for it.
- A trial of another kind waits until those that sit have left. Others pass it by in a few rounds only.
- A place whose owner has not been heard of is given to whoever needs it. The owner can be dead, or keep a trial that
  was stopped. If it asks after all, it is told that its seat is lost, and its trial starts again from its checkpoint.

If a whole round fails, the fault can be that of one trial. So each of them has its next round alone.

A lane may have to find out how many seats it has (`LaneSettings.seats_probe`). It has one until its first trial opens
it, and measures then, before that trial sits.
"""

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tune_sa2va.config import LaneSettings, TrialConfig
from tune_sa2va.data.split_file import Names
from tune_sa2va.errors import DamagedFeaturesError, DataGoneError
from tune_sa2va.lane.group import Lane, LaneLostError
from tune_sa2va.lane.messages import (
    NO_SEAT,
    Command,
    EndEpoch,
    FilesRef,
    LeaveSeats,
    ProbeSeats,
    Reply,
    RunRound,
    SetSeats,
    StartTrial,
)
from tune_sa2va.lane.seat_choice import SeatNews, choice_words, chosen_seats
from tune_sa2va.train.records import SeatPace

SEAT_LOST = "SeatLost"
"""Kind of the reply to a trial that sits no more, through no fault of its own. It can start again at once."""

OUT_OF_MEMORY = "OutOfMemoryError"
"""Kind of a round's failure, or of a trial's that sat alone."""

DATA_GONE, DAMAGED_FEATURES = DataGoneError.__name__, DamagedFeaturesError.__name__
"""Kinds of failure that are no trial's fault."""

_PATIENCE_S, _PATIENCE_SHARE = 2.0, 0.05
"""How long a round waits for a trial: so many seconds, or this share of the last round if that is longer."""

_PATIENCE_AFTER_PROBE_S = 15.0
"""How long the first round waits after seats were measured, as no trial could be asked for before. On an H100 the
others came 9 s after the first one, and a round of four seats takes 18 s with 252 images."""

_IDLE_S = 10.0
"""After this time without a call, a place can be given to another trial."""

_ROUNDS_PASSED_BY = 3
"""In so many rounds others may sit down before a trial of another kind that waits."""

_LOOK_S = 0.5
"""How often whoever waits looks whether the time of somebody is up. Changes wake it at once."""


@dataclass(slots=True, eq=False)
class _Place:
    """A trial's place in the lane.

    Times are of `time.monotonic`. One place is for one start: a trial that lost its seat reserves another.

    kind: see `step_kind`. waits: for a seat. refused_at: number of departures when the workers last had no seat for it.
    number: from 1, free for the next when this one is given up.
    passed_by: rounds that began while it waited. asked_at_s: when it asked for a round; None if it did not. in_round:
    whether it is in the round under way. outcome: of its round. is_awaited: whether rounds wait for it. lost: why its
    workers died, if that was between its rounds. callers: calls of its owner under way.
    """

    kind: Hashable
    number: int
    is_seated: bool = False
    waits: bool = False
    refused_at: int = -1
    passed_by: int = 0
    asked_at_s: float | None = None
    in_round: bool = False
    outcome: Reply | Exception | None = None
    is_awaited: bool = True
    lost: Exception | None = None
    callers: int = 0
    heard_of_at_s: float = field(default_factory=time.monotonic)

    def is_idle(self) -> bool:
        """Whether its owner has been silent for so long that another trial can have the place."""
        return not self.callers and time.monotonic() - self.heard_of_at_s > _IDLE_S


class LaneHost:
    """Owns a lane, which opens with the first trial and, if it was lost, again with the next one."""

    def __init__(self, settings: LaneSettings, names: Names) -> None:
        """names: the split, for the workers."""
        self._settings, self._names = settings, names
        self._lane: Lane | None = None
        self._is_probing = settings.seats_probe is not None
        """Whether the number of seats is still to be measured."""
        self._seats = 1 if self._is_probing else settings.seats
        self._notes: list[str] = []
        self._warnings: list[str] = []
        self._paces: tuple[SeatPace, ...] = ()
        """What `news` tells next."""
        self._changed = threading.Condition()
        self._is_busy = False
        """Whether a command is under way. The lane takes one at a time."""
        self._places: dict[str, _Place] = {}
        """By the trial's name, in the order of their coming."""
        self._leaving: set[str] = set()
        """Trials whose seats the workers still have to free. Those that failed, too: maybe not on every worker."""
        self._departures = 0
        self._has_gap = self._seats > 1
        """Whether a trial may be about to come: at the beginning, or because one left since the last round."""
        self._round_s, self._quiet_since_s = 0.0, 0.0
        """Length of the last round, 0 before the first, and when the last command was done."""
        self._suspects: set[str] = set()
        """Trials of a round that failed as a whole and have not had one alone since."""

    # -- places ----------------------------------------------------------------------------------------------------

    def offer(self, kind: Hashable) -> tuple[int, int]:
        """How well a trial would do here; the smallest offer is the best. kind: see `step_kind`."""
        with self._changed:
            kinds = {place.kind for place in self._places.values()}
            is_open = self._lane is not None and self._lane.alive
            if is_open and kinds <= {kind}:
                rank = 0 if kinds else 1
            elif self._lane is None:
                rank = 2
            else:
                # A lane that was lost comes last: the node may be gone that it was on, and opening would wait for it.
                rank = 3 if is_open else 4
            return rank, len(self._places)  # of equal lanes, the emptiest

    def place_of(self, trial: str) -> int | None:
        """The number of a trial's place; None if it has none here."""
        with self._changed:
            place = self._places.get(trial)
            return None if place is None else place.number

    def reserve(self, trial: str, kind: Hashable) -> int | None:
        """Gives a trial a place, and returns its number; None if there is none. An earlier place here is given up."""
        with self._changed:
            self._give_up(trial)
            if len(self._places) >= self._seats:
                self._give_up_idle()
            if len(self._places) >= self._seats:
                return None
            taken = {place.number for place in self._places.values()}
            number = next(number for number in range(1, self._seats + 1) if number not in taken)
            self._places[trial] = _Place(kind, number)
            return number

    def news(self) -> SeatNews:
        """The number of seats, and what happened to it since the last call."""
        with self._changed:
            news = SeatNews(
                seats=self._seats, notes=tuple(self._notes), warnings=tuple(self._warnings), paces=self._paces
            )
            self._notes, self._warnings, self._paces = [], [], ()
            return news

    def leave(self, trial: str) -> None:
        """Gives up a trial's place. Its seat is free from the next command on."""
        with self._changed:
            self._give_up(trial)

    def _give_up(self, trial: str) -> None:
        if (place := self._places.pop(trial, None)) is not None:
            self._empty_seat(trial, place)

    def _give_up_idle(self) -> None:
        for trial in [trial for trial, place in self._places.items() if place.is_idle()]:
            self._give_up(trial)

    def _empty_seat(self, trial: str, place: _Place) -> None:
        if place.is_seated:
            self._leaving.add(trial)
        place.is_seated = False
        self._departures += 1
        self._has_gap = self._seats > 1
        self._changed.notify_all()

    # -- seats -----------------------------------------------------------------------------------------------------

    def start(self, trial: str, config: TrialConfig, checkpoint: FilesRef) -> Reply:
        """Seats a trial that has a place, once there is a seat for it.

        Raises:
            LaneNotOpenedError: the workers cannot be opened with these settings.
            LaneLostError: the worker group died.
        """
        with self._calling(trial) as place:
            if place is None:
                return _seat_lost()
            place.waits = True
            try:
                while True:
                    with self._changed:
                        while not self._may_sit(place):
                            if self._places.get(trial) is not place:
                                return _seat_lost()
                            self._changed.wait(_LOOK_S)
                            self._give_up_idle()
                        self._is_busy = True
                    with self._telling():
                        reply = self._open()
                        if not reply.failure:
                            reply = self._tell(StartTrial(trial=trial, config=config, checkpoint=checkpoint))
                        if reply.kind == OUT_OF_MEMORY and self._can_have_fewer_seats():
                            self._halve_seats()
                            continue
                        with self._changed:
                            if self._places.get(trial) is not place:  # given up meanwhile
                                self._leaving.add(trial)
                                return _seat_lost()
                            if reply.failure:
                                self._leaving.add(trial)
                            place.is_seated = not reply.failure
                            place.refused_at = self._departures if reply.kind == NO_SEAT else -1
                    if reply.kind != NO_SEAT:
                        return reply
            finally:
                place.waits = False

    def _may_sit(self, place: _Place) -> bool:
        """Whether it is a waiting trial's turn to ask the workers for a seat."""
        if self._is_busy or place.refused_at == self._departures:
            return False
        for other in self._places.values():
            if other is place:
                break
            if other.waits and other.passed_by >= _ROUNDS_PASSED_BY:
                return False
        return sum(other.is_seated for other in self._places.values()) < self._seats

    # -- rounds ----------------------------------------------------------------------------------------------------

    def run(self, trial: str) -> Reply:
        """The next epoch of a seated trial, or the next fold of one with folds.

        Raises:
            LaneLostError: the worker group died.
        """
        with self._calling(trial) as place, self._changed:
            if (problem := _no_seat(place)) is not None:
                return problem
            assert place is not None
            place.asked_at_s, place.is_awaited = time.monotonic(), True
            self._changed.notify_all()
            while place.outcome is None:
                if not place.in_round and (problem := _no_seat(place)) is not None:
                    return problem
                if self._is_busy or (left_s := self._s_until_round()) > 0:
                    self._changed.wait(_LOOK_S if self._is_busy else min(left_s, _LOOK_S))
                    continue
                self._run_round()
            outcome, place.outcome = place.outcome, None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _s_until_round(self) -> float:
        """Seconds until a round begins unless something changes; 0 if it is due. Somebody has asked for it."""
        if any(place.waits and self._may_sit(place) for place in self._places.values()):
            return _LOOK_S
        seated = [place for place in self._places.values() if place.is_seated]
        is_late = any(place.is_awaited and place.asked_at_s is None for place in seated)
        if not is_late and not (self._has_gap and len(seated) < self._seats):
            return 0.0
        first_s = min(place.asked_at_s for place in seated if place.asked_at_s is not None)
        # Whoever asked during the last command gives the others their time, too.
        since_s, patience_s = max(first_s, self._quiet_since_s), max(_PATIENCE_S, _PATIENCE_SHARE * self._round_s)
        if self._settings.seats_probe is not None and not self._round_s:
            patience_s = max(patience_s, _PATIENCE_AFTER_PROBE_S)
        return max(0.0, since_s + patience_s - time.monotonic())

    def _run_round(self) -> None:
        """Runs the round and gives everybody in it the outcome. Called, and left, with the lock."""
        asking = [name for name, place in self._places.items() if place.is_seated and place.asked_at_s is not None]
        suspect = next((name for name in asking if name in self._suspects), None)
        round_ = {name: self._places[name] for name in (asking if suspect is None else [suspect])}
        for name, place in self._places.items():
            place.passed_by += place.waits
            if name in round_:
                place.in_round, place.asked_at_s = True, None
            elif place.is_seated and place.asked_at_s is None:
                place.is_awaited = False
        self._has_gap, self._is_busy = False, True
        self._changed.release()
        began_s = time.monotonic()
        try:
            outcomes = self._outcomes(tuple(round_))
        finally:
            self._changed.acquire()
            self._note_quiet()
        self._round_s = self._quiet_since_s - began_s
        self._suspects -= {suspect}
        for name, place in round_.items():
            outcome = outcomes[name]
            place.in_round, place.outcome, place.lost = False, outcome, None
            if place.is_seated and isinstance(outcome, Reply) and outcome.failure:
                self._empty_seat(name, place)

    def _outcomes(self, names: tuple[str, ...]) -> dict[str, Reply | Exception]:
        """Runs a round of these trials. Returns the reply to each, or the error that ended it."""
        try:
            reply = self._tell(RunRound(trials=names))
            if not reply.failure:
                return dict(reply.trials)
            with self._changed:
                for name, place in self._places.items():
                    self._empty_seat(name, place)
            if reply.kind == DAMAGED_FEATURES:
                self._end_lane()
            elif reply.kind == OUT_OF_MEMORY and self._can_have_fewer_seats():
                self._halve_seats()
                reply = _seat_lost()
            elif reply.kind not in (OUT_OF_MEMORY, DATA_GONE) and len(names) > 1:
                self._suspects = set(names)
                reply = _seat_lost()
        except Exception as error:  # whatever it is, everybody in the round waits for it
            return dict.fromkeys(names, error)
        return dict.fromkeys(names, reply)

    def _can_have_fewer_seats(self) -> bool:
        return self._seats > 1 and not any(place.is_seated for place in self._places.values())

    def _halve_seats(self) -> None:
        with self._changed:
            left = self._seats // 2
            now = f"at most {left} share one" if left > 1 else "one trial trains at a time"
            self._warnings.append(f"memory ran out with {self._seats} trials in a step, so {now} from now on.")
            self._seats = left
        if self._lane is not None and self._lane.alive:
            self._tell(SetSeats(seats=self._seats))

    def _end_lane(self) -> None:
        """Closes the lane, since opening one encodes missing features: an open one has released its encoders."""
        assert self._lane is not None, "it has just replied"
        self._lane.close()
        self._lane = None

    def end_epoch(self, trial: str) -> Reply:
        """Ends the epoch of a seated trial without its remaining folds.

        Raises:
            LaneLostError: the worker group died.
        """
        with self._calling(trial) as place:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_busy)
                if (problem := _no_seat(place)) is not None:
                    return problem
                self._is_busy = True
            with self._telling():
                reply = self._tell(EndEpoch(trial=trial))
            if reply.failure and place is not None:
                with self._changed:
                    self._empty_seat(trial, place)
            return reply

    # -- the lane ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the lane, even while a round is under way."""
        if self._lane is not None:
            self._lane.close()

    def _open(self) -> Reply:
        """Opens a lane if there is none. Whoever sat in one that died is told when it asks.

        The reply is a failure if there are images, on which seats are measured, that are gone or damaged.
        """
        if self._lane is None or not self._lane.alive:
            with self._changed:
                self._lose_seats(LaneLostError("The workers of a lane died between two epochs."))
            self._lane = Lane(self._settings.model_copy(update={"seats": self._seats}), self._names)
        return self._probe() if self._is_probing else Reply()

    def _probe(self) -> Reply:
        """Measures the pace with one seat, then with several, and takes the number of the better one."""
        alone = together = self._tell(ProbeSeats(seats=1))
        seats = self._settings.seats
        try:
            while not alone.failure and seats > 1:
                together = self._tell(ProbeSeats(seats=seats))
                if together.kind != OUT_OF_MEMORY:
                    break
                seats //= 2
        except LaneLostError:
            self._take_seats(1, warning=f"its workers died with {seats} trials in a step, so one trains at a time.")
            raise
        if together.kind == DAMAGED_FEATURES:
            self._end_lane()
        if together.kind in (DAMAGED_FEATURES, DATA_GONE):
            return together
        if alone.pace is not None and together.pace is not None:
            paces = alone.pace, together.pace
            self._take_seats(chosen_seats(*paces), note=choice_words(*paces, asked=self._settings.seats), paces=paces)
        else:
            why = f"seats could not be measured ({together.failure.rstrip('.')})"
            self._take_seats(1, warning=f"{why}, so one trial trains at a time.")
        return self._tell(SetSeats(seats=self._seats))

    def _take_seats(self, seats: int, *, note: str = "", warning: str = "", paces: tuple[SeatPace, ...] = ()) -> None:
        with self._changed:
            self._is_probing, self._seats, self._has_gap = False, seats, seats > 1
            self._notes += filter(None, [note])
            self._warnings += filter(None, [warning])
            self._paces = paces

    def _tell(self, command: Command) -> Reply:
        """Asks the workers. Call it when nobody else does (`_is_busy`)."""
        assert self._lane is not None, "trials sit in an open lane"
        with self._changed:
            leaving, self._leaving = tuple(sorted(self._leaving)), set()
        try:
            if leaving:
                self._lane.ask(LeaveSeats(trials=leaving))
            return self._lane.ask(command)
        except Exception as error:
            with self._changed:
                self._lose_seats(error)
            raise

    def _lose_seats(self, error: Exception) -> None:
        """Notes that the workers are gone, and with them all trials."""
        for name, place in self._places.items():
            if place.is_seated:
                place.lost = error
            self._empty_seat(name, place)
        self._leaving.clear()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Lets the next one command the lane when the block is done."""
        try:
            yield
        finally:
            with self._changed:
                self._note_quiet()

    def _note_quiet(self) -> None:
        self._is_busy, self._quiet_since_s = False, time.monotonic()
        self._changed.notify_all()

    @contextmanager
    def _calling(self, trial: str) -> Iterator[_Place | None]:
        """The trial's place, whose owner is heard of during the block; None if it has none."""
        with self._changed:
            place = self._places.get(trial)
            if place is not None:
                place.callers += 1
        try:
            yield place
        finally:
            if place is not None:
                with self._changed:
                    place.callers -= 1
                    place.heard_of_at_s = time.monotonic()


def _no_seat(place: _Place | None) -> Reply | None:
    """What a trial without a seat is told. None if it has one.

    Raises:
        LaneLostError: it lost it with its workers.
    """
    if place is not None and place.lost is not None:
        lost, place.lost = place.lost, None
        raise lost
    return _seat_lost() if place is None or not place.is_seated else None


def _seat_lost() -> Reply:
    return Reply(failure="The trial lost its seat.", kind=SEAT_LOST)
