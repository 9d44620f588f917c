"""Which lane each trial of a search runs in, and what that place is called in the records.

With one seat a lane belongs to an actor of Tune's, and whichever trial Tune gives to that actor runs there. With
several it belongs to a host, and the trial's place is taken here, when Tune starts it: beside trials of its kind if
there are any, else where nobody sits (`lane.host`).
"""

import contextlib
from collections.abc import Sequence

from tune_sa2va.config import TrialConfig
from tune_sa2va.lane.group import LaneLostError
from tune_sa2va.lane.hosts import Host, take_place
from tune_sa2va.lane.seat_choice import SeatNews


class Seating:
    """Takes places for trials that start and gives them up when trials are over."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        """hosts: of all lanes; empty if each of Tune's actors has a lane of its own."""
        self._hosts = hosts
        self._lanes: dict[str, str] = {}
        """Actor -> the name of its lane."""
        self._seated: set[str] = set()

    def seat(self, trial_id: str, config: TrialConfig, actor: str) -> str:
        """The name of the place at which a trial runs that starts, or starts again, in one of Tune's actors."""
        if not self._hosts:
            return self._lanes.setdefault(actor, f"lane {len(self._lanes) + 1}")
        self.leave(trial_id)
        found = None
        with contextlib.suppress(LaneLostError):  # a host died; the trial is told so in its first step
            found = take_place(self._hosts, trial_id, config)
        if found is None:  # or a place is not given up yet; then the trial waits for it in its actor
            return "no lane yet"
        self._seated.add(trial_id)
        host, place = found
        return f"lane {host + 1} seat {place}"

    def leave(self, trial_id: str) -> None:
        """Gives up the place of a trial that is over or was lost with its lane."""
        if trial_id in self._seated:
            self._seated.remove(trial_id)
            for host in self._hosts:
                host.leave(trial_id)

    def news(self) -> list[tuple[int, SeatNews]]:
        """What the lanes tell, each with its number from 0. A lane whose host is dead tells nothing."""
        told = []
        for number, host in enumerate(self._hosts):
            with contextlib.suppress(LaneLostError):
                told.append((number, host.news()))
        return told
