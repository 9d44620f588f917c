"""With a copy elsewhere, results lie on the head node only, so the search must be started there."""

from types import SimpleNamespace

import pytest
import ray

from tune_sa2va.errors import DeviceError
from tune_sa2va.preflight.shared_storage import check_on_head

_NODES = [
    {"Alive": True, "NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Resources": {"node:__internal_head__": 1.0}},
    {"Alive": True, "NodeID": "b", "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 8.0}},
]


def test_a_driver_on_another_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: _NODES)
    for here in ("a", "b"):
        context = SimpleNamespace(get_node_id=lambda here=here: here)
        monkeypatch.setattr(ray, "get_runtime_context", lambda context=context: context)
        if here == "a":
            check_on_head("s3://bucket")
        else:
            with pytest.raises(
                DeviceError, match=r"must be started on the head node of the cluster, 10\.0\.0\.1, where"
            ):
                check_on_head("s3://bucket")
