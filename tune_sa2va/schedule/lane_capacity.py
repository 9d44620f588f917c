"""How many lanes the nodes of a cluster can hold now: fewer than asked for where a node was lost and stays away."""

import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from tune_sa2va.results.settings import SearchSettings

_LOOK_S = 5.0
"""How old an answer may be. A look costs milliseconds."""

_CONNECT_TIMEOUT_S = 1.0
"""How long a node may take to accept a connection."""


class LaneCapacity:
    """Asks Ray, and the nodes themselves: Ray takes a quarter of a minute to call one dead that went without a word."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._known = settings.lanes
        self._looked_at_s = -_LOOK_S

    def __call__(self) -> int:
        """Lanes that can be, at most as many as the search has. Inside a running Ray."""
        if self._settings.address is not None and time.monotonic() - self._looked_at_s > _LOOK_S:
            up = [node for node in ray.nodes() if node["Alive"] and _answers(node)]
            self._known = min(self._settings.lanes, lanes_that_fit(self._settings, up))
            self._looked_at_s = time.monotonic()
        return self._known

    def look_again(self) -> None:
        """Something was lost: the last answer does not hold any more."""
        self._looked_at_s = -_LOOK_S


def lanes_that_fit(settings: SearchSettings, nodes: Iterable[Mapping[str, Any]]) -> int:
    """Lanes for whose workers the given nodes (of `ray.nodes()`) have the CPUs and GPUs, were nothing else on them."""
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
