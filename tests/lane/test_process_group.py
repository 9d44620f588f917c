"""Which process group a lane gets. That its sockets are on loopback, and what a death does to it, is in test_lane."""

import pytest
import ray
from ray.train.torch import TorchConfig

from tune_sa2va.lane.process_group import torch_config


@pytest.fixture
def in_an_actor():
    """Asks in an actor, as the owner of a lane is one. Returns the names of the backends for one and two workers."""

    def backends() -> list[str]:
        return [torch_config(num_workers).backend_cls.__name__ for num_workers in (1, 2)]

    return ray.get(ray.remote(num_cpus=0)(backends).remote())


def test_our_own_ray_keeps_workers_on_loopback(in_an_actor: list[str]) -> None:
    assert in_an_actor == ["Backend", "_LoopbackBackend"]


def test_on_a_cluster_workers_meet_in_rays_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    assert type(torch_config(2)) is TorchConfig
    assert torch_config(1).backend_cls.__name__ == "Backend"
