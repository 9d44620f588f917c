"""Where processes listen."""

from collections.abc import Iterable

import psutil


def listening(processes: Iterable[psutil.Process]) -> set[str]:
    """Addresses at which they listen, without ports."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
