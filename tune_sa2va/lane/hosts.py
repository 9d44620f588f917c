"""The hosts of a search whose lanes have several seats: an actor for each lane, and which of them a trial goes to.

The process that runs the search starts them, and they end with it at the latest. They outlive the owners of trials,
which Tune starts and ends as it needs them. The search takes a trial's first place (`search.seating`); if it is lost,
its owner takes another.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayTaskError

from tune_sa2va.config import LaneSettings, TrialConfig
from tune_sa2va.data.split_file import read_names
from tune_sa2va.lane.group import LaneLostError
from tune_sa2va.lane.host import LaneHost
from tune_sa2va.lane.messages import FilesRef, Reply
from tune_sa2va.lane.seat_choice import SeatNews
from tune_sa2va.train.step_kind import step_kind

ON_THE_HEAD_NODE = {"node:__internal_head__": 0.001}
"""A share of a resource that only Ray's head node has. Owners and hosts run there so that they survive the loss of any
other node. They reserve no CPU, as they sleep while the workers work."""

_LOOK_AGAIN_S = 0.5
"""How soon all hosts are asked again for a place, if none has one."""

_CLOSE_S = 10.0
"""How long hosts may take to close their lanes. What is left then ends with them."""


class Host(Protocol):
    """What the owner of a trial needs of a lane's host: see `LaneHost`."""

    def offer(self, kind: Any) -> tuple[int, int]: ...
    def news(self) -> SeatNews: ...
    def place_of(self, trial: str) -> int | None: ...
    def reserve(self, trial: str, kind: Any) -> int | None: ...
    def start(self, trial: str, config: TrialConfig, checkpoint: FilesRef) -> Reply: ...
    def run(self, trial: str) -> Reply: ...
    def end_epoch(self, trial: str) -> Reply: ...
    def leave(self, trial: str) -> None: ...


class _HostProcess(LaneHost):
    """What a host's actor runs."""

    def __init__(self, settings: LaneSettings, folder: Path) -> None:
        super().__init__(settings, read_names(folder))


class HostActor:
    """A `LaneHost` in a process of its own. Can be sent to other processes.

    If that process dies, calls raise `LaneLostError`, and Ray starts another that has no lane yet.
    """

    def __init__(self, settings: LaneSettings, folder: Path) -> None:
        """Call it in the process that runs the search. folder: has the split, and is visible from the head node."""
        threads = 4 * settings.seats + 4  # each owner's call, calls left by owners that died, and short ones
        options = {"num_cpus": 0, "resources": ON_THE_HEAD_NODE, "max_concurrency": threads, "max_restarts": -1}
        self._actor = ray.remote(**options)(_HostProcess).remote(settings, folder)

    def offer(self, kind: Any) -> tuple[int, int]:
        """See `LaneHost`; so are all the others."""
        found: tuple[int, int] = _result(self._actor.offer.remote(kind))
        return found

    def news(self) -> SeatNews:
        """The number of seats."""
        found: SeatNews = _result(self._actor.news.remote())
        return found

    def place_of(self, trial: str) -> int | None:
        """The number of a place."""
        found: int | None = _result(self._actor.place_of.remote(trial))
        return found

    def reserve(self, trial: str, kind: Any) -> int | None:
        """Reserves a place."""
        found: int | None = _result(self._actor.reserve.remote(trial, kind))
        return found

    def start(self, trial: str, config: TrialConfig, checkpoint: FilesRef) -> Reply:
        """Seats a trial."""
        return _reply(self._actor.start.remote(trial, config, checkpoint))

    def run(self, trial: str) -> Reply:
        """Runs an epoch."""
        return _reply(self._actor.run.remote(trial))

    def end_epoch(self, trial: str) -> Reply:
        """Ends an epoch without its remaining folds."""
        return _reply(self._actor.end_epoch.remote(trial))

    def leave(self, trial: str) -> None:
        """Gives the place up."""
        with contextlib.suppress(LaneLostError):  # then there is none
            _result(self._actor.leave.remote(trial))  # waits, as the trial may start again and calls can overtake

    @staticmethod
    def close_all(hosts: Sequence["HostActor"]) -> None:
        """Closes the lanes and ends the processes."""
        if closing := [host._actor.close.remote() for host in hosts]:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
        for host in hosts:
            ray.kill(host._actor)


def take_place(hosts: Sequence[Host], trial: str, config: TrialConfig) -> tuple[int, int] | None:
    """Reserves a place for the trial at the host that suits it best. Returns the numbers of host, from 0, and place;
    None if all are taken."""
    kind = step_kind(config)
    offers = [host.offer(kind) for host in hosts]
    for number in sorted(range(len(hosts)), key=lambda number: offers[number]):
        if (place := hosts[number].reserve(trial, kind)) is not None:
            return number, place
    return None


def find_place(hosts: Sequence[Host], trial: str, config: TrialConfig) -> Host:
    """The host at which the trial has a place, taken now if nobody took it before. Waits until one is free."""
    for host in hosts:
        if host.place_of(trial) is not None:
            return host
    while (found := take_place(hosts, trial, config)) is None:
        time.sleep(_LOOK_AGAIN_S)
    return hosts[found[0]]


def _reply(reference: Any) -> Reply:
    reply: Reply = _result(reference)
    return reply


def _result(reference: Any) -> Any:
    """What a call of an actor returned or raised.

    Raises:
        LaneLostError: the actor died.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayActorError as error:
        raise LaneLostError(f"The host of a lane died: {error}") from error
