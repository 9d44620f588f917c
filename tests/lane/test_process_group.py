"""Which process group a lane gets on a cluster. On this machine, and when a worker dies: test_lane."""

import pytest
import ray
from ray.train.torch import TorchConfig

from tune_sa2va.lane.process_group import torch_config


def test_on_a_cluster_workers_meet_in_rays_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    assert type(torch_config(2)) is TorchConfig
    assert torch_config(1).backend_cls.__name__ == "Backend"
