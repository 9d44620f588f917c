"""Ray for the duration of a search: started on this machine, or a running cluster that the user names."""

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
"""Starts at Ray's default. The range lies below the ephemeral ports, dozens of which Ray itself occupies."""

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints tables at any verbosity
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # these would copy our records to CSV, JSON and TensorBoard files
    "TUNE_GLOBAL_CHECKPOINT_S": "0.5",  # after a kill, a trial that no saved state contains is proposed again
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler waits for running epochs, which may take minutes
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # send nothing over the network
}

_RAY_COMMAND = str(Path(sys.executable).with_name("ray"))
"""The `ray` command next to this Python executable; its folder need not be on the PATH."""

_RAY_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextmanager
def cluster(settings: SearchSettings) -> Iterator[None]:
    """Runs the block with Ray up: started here, or the running cluster at `settings.address`.

    Raises:
        UserError: no cluster is at the address, it is too small, or its nodes cannot keep the results.
    """
    if settings.address is None:
        workers = settings.lanes * settings.lane.num_workers
        # To Ray, CPUs are only a count for placement: one for each thread of the workers.
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
    """The line that tells where the dashboard is and how to log in. Ray asks for a token, one per user."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return f"Ray dashboard: http://{address}"
    return f"Ray dashboard: http://{address} (log in with what this prints: {_RAY_COMMAND} get-auth-token)"


def start_own_ray(*, num_cpus: int, num_gpus: int) -> Any:
    """Starts Ray on this machine and returns its context. All its processes listen on 127.0.0.1 only."""
    silence_ray()
    with _free_port() as port, ray_on_loopback(), ray_in_own_session():
        # When a lane stops, Ray Train queries the dashboard. With two clusters on a host it would query the wrong one.
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
    """Connects to a running cluster and returns Ray's context."""
    try:
        return ray.init(address=address, runtime_env={"env_vars": _QUIET}, **_RAY_SILENT)
    except (ConnectionError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        if any("InvalidAuthToken" in str(cause) for cause in causes):
            raise DeviceError(
                f"--address {address}: this Ray cluster wants a token. Copy its ~/.ray/auth_token to this machine and "
                "start the search with RAY_AUTH_MODE=token."
            ) from error
        reason = " ".join(str(error).split()).rstrip(".")
        raise DeviceError(
            f"--address {address}: the Ray cluster cannot be joined ({reason}). It must run the same versions of Ray "
            "and Python as this machine."
        ) from error


def _check_room(settings: SearchSettings) -> None:
    """Checks that a running cluster has room for all lanes; without it Ray would wait forever."""
    room = lanes_that_fit(settings, [node for node in ray.nodes() if node["Alive"]])
    if room < settings.lanes:
        each = f"{settings.cpus_per_worker} CPU{' and a GPU' if settings.gpus else ''}"
        raise DeviceError(
            f"--address {settings.address}: the search needs room for {count(settings.lanes, 'lane')}, each "
            f"{settings.lane.num_workers} times {each}; the nodes have room for {room}. Lower --gpus or --lanes."
        )


def silence_ray() -> None:
    """Keeps Ray from printing on a normal run. Call it before `ray.init`, whose processes inherit the environment."""
    os.environ.update(_QUIET)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # it lists failed trials, which are in our records
    silence_lost_nodes()


def check_reachable(address: str) -> None:
    """Checks that something answers at HOST:PORT; Ray itself would try for minutes and then abort the process.

    Raises:
        UserError: nothing answers.
    """
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
    """A port for the dashboard that no other search takes during the block.

    Ray listens on the port seconds after this check, and gives up if another process was quicker. So each search first
    claims its port by binding an abstract Unix socket, which the kernel releases when the process ends.

    Raises:
        UserError: all ports are taken.
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
        f"Ray's dashboard needs a port of 127.0.0.1 from {_DASHBOARD_PORTS[0]} to {_DASHBOARD_PORTS[-1]}, and none is "
        "free. Stop a process that listens there: ss -ltnp lists them."
    )
