"""How many lanes the nodes of a cluster can hold now, and how many trials those lanes can: fewer than requested while a
lost node is missing, and where lanes have fewer seats."""

import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from tune_sa2va.results.settings import SearchSettings

_LOOK_S = 5.0
"""Seconds for which an answer is reused. A look costs milliseconds."""

_CONNECT_TIMEOUT_S = 1.0
"""Seconds that a node may take to accept a connection."""


class LaneCapacity:
    """Asks Ray and the nodes themselves, since Ray takes about 15 s to notice that a node is gone."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._known = settings.lanes
        self._seats = [1 if settings.probes_seats else settings.seats] * settings.lanes
        """Of each lane, as far as is known: one until it has measured how many."""
        self._looked_at_s = -_LOOK_S

    def __call__(self) -> int:
        """The number of lanes that the nodes can hold, at most as many as the search has. Needs a running Ray."""
        if self._settings.address is not None and time.monotonic() - self._looked_at_s > _LOOK_S:
            up = [node for node in ray.nodes() if node["Alive"] and _answers(node)]
            self._known = min(self._settings.lanes, lanes_that_fit(self._settings, up))
            self._looked_at_s = time.monotonic()
        return self._known

    def set_seats(self, lane: int, seats: int) -> None:
        """Notes how many seats a lane has. lane: its number, from 0."""
        self._seats[lane] = seats

    def trials(self) -> int:
        """Trials that can run at a time: in as many lanes as the nodes can hold, those with the most seats."""
        return sum(sorted(self._seats, reverse=True)[: self()])

    def look_again(self) -> None:
        """Discards the last answer, because a lane or node was lost."""
        self._looked_at_s = -_LOOK_S


def lanes_that_fit(settings: SearchSettings, nodes: Iterable[Mapping[str, Any]]) -> int:
    """The number of lanes whose workers fit on the given nodes (of `ray.nodes()`), if nothing else runs there."""
    workers = 0
    for node in nodes:
        resources = node["Resources"]
        here = resources.get("CPU", 0) // settings.cpus_per_worker
        workers += int(min(here, resources.get("GPU", 0)) if settings.gpus else here)
    return workers // settings.lane.num_workers


def _answers(node: Mapping[str, Any]) -> bool:
    try:
        socket.create_connection(
            (node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=_CONNECT_TIMEOUT_S
        ).close()
    except OSError:
        return False
    return True
