"""Ray for the length of a search: a cluster of our own on this machine, or the running one that the user names."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from tune_sa2va.errors import DeviceError
from tune_sa2va.internals.ray_private import ray_in_own_session, ray_on_loopback, silence_lost_nodes
from tune_sa2va.preflight.shared_storage import check_on_head, check_shared
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.lane_capacity import lanes_that_fit
from tune_sa2va.words import count

_DASHBOARD_PORTS = range(8265, 8365)
"""Ray's own first; below those that the kernel gives to connections, which Ray itself uses by the dozen."""

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output prints tables whatever the verbosity
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard copies of our records
    "TUNE_GLOBAL_CHECKPOINT_S": "0.5",  # a trial that no saved state knows is proposed again after a kill
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it waits for the epochs under way, which may take minutes
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing of ours goes out
}

_RAY_COMMAND = str(Path(sys.executable).with_name("ray"))
"""Beside this Python, which need not be on the PATH."""

_RAY_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextmanager
def cluster(settings: SearchSettings) -> Iterator[None]:
    """Ray, up for the length of the block: a cluster of our own, or the running one at `settings.address`.

    Raises:
        UserError: no cluster at the address, one that is too small, or one whose nodes cannot keep the results.
    """
    if settings.address is None:
        workers = settings.lanes * settings.lane.num_workers
        # CPUs are bookkeeping here: as many as the workers have threads.
        context = start_own_ray(num_cpus=workers * settings.cpus_per_worker, num_gpus=settings.gpus)
    else:
        check_reachable(settings.address)
        silence_ray()
        context = _join(settings.address)
    try:
        if settings.address is not None:
            _check_room(settings)
            if settings.storage is None:
                check_shared(settings.out)
            else:
                check_on_head(settings.storage)
        if context.dashboard_url:
            print(_dashboard(context.dashboard_url), flush=True)
        yield
    finally:
        ray.shutdown()


def _dashboard(address: str) -> str:
    """Where it is, and what it asks for: Ray makes a token for each user, and its dashboard lets nobody in without."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return f"Ray dashboard: http://{address}"
    return f"Ray dashboard: http://{address} (log in with what this prints: {_RAY_COMMAND} get-auth-token)"


def start_own_ray(*, num_cpus: int, num_gpus: int) -> Any:
    """Starts Ray on this machine, all of whose processes listen on 127.0.0.1 alone; gives back Ray's context."""
    silence_ray()
    with _free_port() as port, ray_on_loopback(), ray_in_own_session():
        # Ray Train's clean-up of a stopped lane asks the dashboard, and with two clusters on a host asks the wrong one.
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
        return ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=port,
            **_RAY_SILENT,
        )


def _join(address: str) -> Any:
    """Connects to a running cluster; gives back Ray's context."""
    try:
        return ray.init(address=address, runtime_env={"env_vars": _QUIET}, **_RAY_SILENT)
    except (ConnectionError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        if any("InvalidAuthToken" in str(cause) for cause in causes):
            raise DeviceError(
                f"--address {address}: this Ray cluster wants a token. Put its ~/.ray/auth_token here, too, and start "
                "the search with RAY_AUTH_MODE=token."
            ) from error
        reason = " ".join(str(error).split()).rstrip(".")
        raise DeviceError(
            f"--address {address}: the Ray cluster cannot be joined ({reason}). It must be the same Ray and Python."
        ) from error


def _check_room(settings: SearchSettings) -> None:
    """Whether a running cluster can hold the lanes; one without room would wait for ever."""
    room = lanes_that_fit(settings, [node for node in ray.nodes() if node["Alive"]])
    if room < settings.lanes:
        each = f"{settings.cpus_per_worker} CPU{' and a GPU' if settings.gpus else ''}"
        raise DeviceError(
            f"--address {settings.address}: the search needs room for {count(settings.lanes, 'lane')}, each "
            f"{settings.lane.num_workers} times {each}; the nodes have it for {room}. Lower --gpus or --lanes."
        )


def silence_ray() -> None:
    """No pages of Ray's own on a normal run. Before `ray.init`, since its processes inherit the environment."""
    os.environ.update(_QUIET)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # names failed trials, which we have recorded
    silence_lost_nodes()


def check_reachable(address: str) -> None:
    """Whether anything answers at HOST:PORT; Ray itself would try for minutes and then abort the process."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise DeviceError(
            f"--address {address}: no Ray cluster answers there. Give HOST:PORT of its head, or auto."
        ) from error


@contextmanager
def _free_port() -> Iterator[int]:
    """A port for the dashboard, which no other search takes for the length of the block.

    Ray listens there seconds after we looked, and gives up where another process was quicker. So each search claims its
    port first, by a socket with a name in place of a file: the kernel takes it back with the process.

    Raises:
        UserError: all are taken.
    """
    for port in _DASHBOARD_PORTS:
        with socket.socket(socket.AF_UNIX) as claim, socket.socket() as probe:
            try:
                claim.bind(f"\0tune_sa2va-dashboard-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            probe.close()
            yield port
            return
    raise DeviceError(
        f"no port of 127.0.0.1 is free for Ray's dashboard, from {_DASHBOARD_PORTS[0]} to {_DASHBOARD_PORTS[-1]}. "
        "End what listens there: ss -ltnp shows it."
    )
