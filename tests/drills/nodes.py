"""A Ray cluster of several nodes on this machine, and what runs on each of them."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.drills.searches import wait_until

_OF_A_LANE = ("ray::RayTrainWorker", "ray::_Inner", "ray::TrainController", "ray::Mailbox")


@contextmanager
def cluster(*, head_cpus: int, nodes: int) -> Iterator[Cluster]:
    """A head and nodes with a CPU each, so with room for a lane each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    head = {"num_cpus": head_cpus, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()


@contextmanager
def node_apart(nodes: Cluster, folder: Path) -> Iterator[None]:
    """A node in a mount namespace of its own, where an empty file system lies over `folder`."""
    there = f'mount -t tmpfs tmpfs "{folder}" || exit 9; exec "$@"'
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address", nodes.address, "--num-cpus", "1"]
    with (folder.parent / "node.log").open("w") as log:
        node = psutil.Popen(
            ["unshare", "--mount", "sh", "-c", there, "sh", *ray, "--block"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: not node.is_running() or _alive(nodes) == 2, within_s=120, what="the node is up")
        if node.poll() == 9:
            pytest.skip("mount is not permitted")
        yield
    finally:
        for process in [*node.children(recursive=True), node]:
            process.kill()
        node.wait(30)


def _alive(nodes: Cluster) -> int:
    return len(nodes.global_state._live_node_ids())


def lane_processes(node: Any) -> list[psutil.Process]:
    """Owners, workers and what Ray Train puts beside them, on one node of a `cluster`."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [process for process in raylet.children(recursive=True) if _title(process).startswith(_OF_A_LANE)]


def has_worker(node: Any) -> bool:
    """Whether a lane's worker is on the node."""
    return any(_title(process).startswith("ray::RayTrainWorker") for process in lane_processes(node))


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
