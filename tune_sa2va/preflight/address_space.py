"""Whether Ray's processes get the address space that they reserve: under `ulimit -v` they end in pages of C++."""

import os
import resource

from tune_sa2va.errors import DeviceError

CURE = "ulimit -v unlimited, in the shell that starts the search."

_GIB = 2**30
_STORE_SHARE = 0.3
"""Of the machine's memory: Ray's object store, which each of its processes maps whole."""
_BESIDE_GIB = 5.0
"""What its raylet reserves besides: 11 GiB in all on a machine of 23 (Ray 2.60)."""


def check_address_space() -> None:
    """Whether this process's limit leaves Ray enough.

    Raises:
        DeviceError: it does not.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if fault := address_space_fault(limit, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        raise DeviceError(f"{fault}. {CURE}")


def address_space_fault(limit_bytes: int, memory_bytes: int) -> str:
    """What is wrong with a limit on a machine of so much memory; empty where it is none, or large enough."""
    needed_gib = _STORE_SHARE * memory_bytes / _GIB + _BESIDE_GIB
    if limit_bytes == resource.RLIM_INFINITY or limit_bytes / _GIB >= needed_gib:
        return ""
    return (
        f"ulimit -v allows a process {limit_bytes / _GIB:.1f} GiB of addresses, and Ray's reserve {needed_gib:.0f} GiB "
        "on this machine"
    )
