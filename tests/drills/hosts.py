"""Hosts with networks of their own on this machine: network namespaces on a bridge, a Ray node in each."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_BRIDGE, _PORT = "sa2va", 6399
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5a2" * 16}
"""A cluster over a network asks for one; environment of its nodes and of a search in it."""

_GIVES_UP_SOONER = {"RAY_health_check_failure_threshold": "3"}
"""For the head, as docs/several-gpus.md says: by default a host that falls silent is waited for for 65 s."""


def can_be_made() -> bool:
    """Whether this user may make network namespaces here."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("netns", "add", "sa2va-probe")
        _ip("netns", "del", "sa2va-probe")
        return True
    return False


@dataclass(frozen=True)
class Host:
    """A namespace and the Ray node in it. Everything runs behind a shell whose /tmp/ray is its own."""

    name: str
    address: str
    node: psutil.Popen

    def prefix(self) -> list[str]:
        """What a command begins with to run on the host, beside its Ray node."""
        return ["nsenter", f"--target={self.node.pid}", "--net", "--mount", f"--wd={Path.cwd()}"]

    def cut_off(self) -> list[psutil.Process]:
        """Its power and its cable go; gives back what ran there."""
        ran = [*self.node.children(recursive=True), self.node]
        _ip("netns", "exec", self.name, "ip", "link", "set", "eth0", "down")
        for process in ran:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return ran


@contextmanager
def hosts(folder: Path, *, workers: int) -> Iterator[list[Host]]:
    """A head without CPUs and `workers` hosts with one each, which see each other by the bridge alone."""
    with ExitStack() as stack:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        stack.callback(_ip, "link", "del", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        made: list[Host] = []
        for number in range(workers + 1):
            name, address = f"sa2va{number}", f"10.77.0.{number + 1}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", f"{name}b", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"{name}b", "master", _BRIDGE, "up")
            inside = ["netns", "exec", name, "ip"]
            _ip(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip(*inside, "link", "set", "eth0", "up")
            _ip(*inside, "link", "set", "lo", "up")
            node = _start(folder, name, address, is_head=number == 0)
            stack.callback(_end, node)
            made.append(Host(name, address, node))
        yield made


def _start(folder: Path, name: str, address: str, *, is_head: bool) -> psutil.Popen:
    role = ["--head", f"--port={_PORT}", "--num-cpus=0", "--dashboard-host=127.0.0.1"]
    role = role if is_head else [f"--address=10.77.0.1:{_PORT}", "--num-cpus=1"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={address}", "--block", *role]
    own_tmp = 'mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && exec "$@"'
    with (folder / f"{name}.log").open("w") as log:
        return psutil.Popen(
            ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", own_tmp, "sh", *ray],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | TOKEN | (_GIVES_UP_SOONER if is_head else {}),
        )


def _end(node: psutil.Popen) -> None:
    for process in [*node.children(recursive=True), node] if node.is_running() else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    node.wait(30)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
