"""How the workers of a lane meet: torch's process group, with sockets on 127.0.0.1 where Ray is on this host alone.

In Ray Train's own way torch opens the store through which workers find each other, on every network interface; it takes
no address. But it takes a socket that listens already. gloo and NCCL listen on the interface that a variable names.
"""

import os
import socket
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig

_LOOPBACK = "127.0.0.1"
_ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",  # GPUs of one host move data through NVLink, PCIe or shared memory all the same
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",  # as Ray Train sets it: a collective that fails ends the process
}


def torch_config(num_workers: int) -> TorchConfig:
    """The configuration for a lane of so many workers. Call it in a process of the Ray that runs the lane."""
    if num_workers == 1:
        return _WithoutProcessGroup()
    # A node at this address cannot be reached from another host, so all nodes are here.
    return _OnLoopback() if ray.util.get_node_ip_address() == _LOOPBACK else TorchConfig()


class _WithoutProcessGroup(TorchConfig):
    """For a lane of one worker, which needs no process group."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Ray Train's base backend, which sets nothing up."""
        return Backend


class _OnLoopback(TorchConfig):
    """For a lane whose workers are all on this host."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Sets the process group up on 127.0.0.1."""
        return _LoopbackBackend


class _LoopbackBackend(Backend):
    """Does what Ray Train's own backend does, but for where it listens."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Connects the workers: NCCL where each has a GPU, else gloo."""
        backend = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) else "gloo"
        port, listener = worker_group.execute_single(0, _listen)
        joined = [
            worker_group.execute_single_async(
                rank,
                _join,
                backend=backend,
                world_rank=rank,
                world_size=len(worker_group),
                port=port,
                listener=listener if rank == 0 else None,
                timeout=timedelta(seconds=backend_config.timeout_s),
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joined)

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Destroys the process group, within the time that Ray Train allows."""
        TorchConfig().backend_cls().on_shutdown(worker_group, backend_config)


def _listen() -> tuple[int, int]:
    """Opens a socket on 127.0.0.1 in this process, and returns its port and its descriptor."""
    listener = socket.create_server((_LOOPBACK, 0))
    return listener.getsockname()[1], listener.detach()


def _join(
    *, backend: str, world_rank: int, world_size: int, port: int, listener: int | None, timeout: timedelta
) -> None:
    """Joins the process group. listener: for rank 0, the descriptor of the socket at `port`, which the store takes."""
    os.environ.update(_ENVIRONMENT)
    store = dist.TCPStore(
        _LOOPBACK, port, world_size, is_master=world_rank == 0, timeout=timeout, master_listen_fd=listener
    )
    dist.init_process_group(backend=backend, store=store, rank=world_rank, world_size=world_size, timeout=timeout)
