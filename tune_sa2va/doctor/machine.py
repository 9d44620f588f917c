"""What Ray and the lanes need from the machine: disk space, shared memory, open files, memory and a local port."""

import os
import resource
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from tune_sa2va.doctor.finding import Finding, Severity

_GIB = 2**30
_OPEN_FILES_OK, _OPEN_FILES_LEAST = 8192, 1024
_SHM_OK_GIB = 1.0
_DISK_OK_GIB, _DISK_LEAST_GIB = 20.0, 2.0
_MEMORY_OK_GIB, _MEMORY_LEAST_GIB = 8.0, 2.0
_SOCKET_PATH_LIMIT = 107
"""Longest path of a Unix socket on Linux, in bytes; Ray puts its sockets into its session folder."""
_HOME_CURE = (
    "Set HOME to a folder of yours that can be written, for example export HOME=/tmp/home, and make that folder."
)
_STORE_SHARE = 0.3
"""Share of the machine's memory for Ray's object store, which each of Ray's processes maps as a whole."""
_BESIDE_STORE_GIB = 5.0
"""Address space that a raylet reserves in addition: 11 GiB in total on a machine with 23 GiB of memory (Ray 2.60)."""
_RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"


def check_machine(folders: dict[str, Path]) -> list[Finding]:
    """The findings about this machine. folders: what is stored -> its folder, which need not exist yet."""
    return [
        *(judge_disk(name, folder, _writable_gib(folder)) for name, folder in folders.items()),
        judge_shared_memory(_shared_memory_gib()),
        judge_memory(available_memory_gib()),
        *what_ray_needs(),
    ]


def what_ray_needs(*, starts: bool = True) -> list[Finding]:
    """The findings about what Ray requires. starts: Ray has to start here; False if it only joins a cluster."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        judge_open_files(soft, hard),
        judge_address_space(resource.getrlimit(resource.RLIMIT_AS)[0], _memory_bytes()),
        *([judge_ray_folder(ray_folder(os.environ))] if starts else []),
        judge_home(os.environ, _home()),
        _check_port(),
    ]


def ray_folder(environment: Mapping[str, str]) -> Path:
    """The folder in which Ray makes its folder `ray`, found by Ray's own rule."""
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp")


def judge_disk(name: str, folder: Path, free_gib: float | None) -> Finding:
    """The finding about the disk that `folder` is or will be on. free_gib: None if the folder cannot be written."""
    subject = f"disk, {name}"
    if free_gib is None:
        cure = "Choose another folder (--out; TUNE_SA2VA_CACHE for caches), or change its permissions."
        return Finding(Severity.FAIL, subject, f"{folder} cannot be written", cure)
    found = f"{free_gib:.1f} GiB free at {folder}"
    if free_gib >= _DISK_OK_GIB:
        return Finding(Severity.OK, subject, found)
    severity = Severity.WARN if free_gib >= _DISK_LEAST_GIB else Severity.FAIL
    cure = "Make room, or choose a folder on another disk (--out; TUNE_SA2VA_CACHE for caches)."
    return Finding(severity, subject, found, f"{cure} python -m tune_sa2va.plan tells how much a search takes.")


def judge_shared_memory(size_gib: float | None) -> Finding:
    """The finding about /dev/shm, where Ray keeps objects. size_gib: None if it does not exist."""
    if size_gib is not None and size_gib >= _SHM_OK_GIB:
        return Finding(Severity.OK, "shared memory", f"/dev/shm has {size_gib:.1f} GiB")
    found = "/dev/shm is missing" if size_gib is None else f"/dev/shm has {size_gib * 1024:.0f} MiB"
    return Finding(Severity.WARN, "shared memory", found, "In a container: docker run --shm-size=4g.")


def judge_open_files(soft: int, hard: int) -> Finding:
    """The finding about `ulimit -n`: each of Ray's processes keeps connections to many others."""
    if soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES_OK:
        found = "no limit" if soft == resource.RLIM_INFINITY else f"{soft} per process"
        return Finding(Severity.OK, "open files", found)
    severity = Severity.WARN if soft >= _OPEN_FILES_LEAST else Severity.FAIL
    reachable = hard == resource.RLIM_INFINITY or hard >= _OPEN_FILES_OK
    cure = (
        f"ulimit -n {_OPEN_FILES_OK}, in the shell that starts the search."
        if reachable
        else f"Raise the limit (nofile {_OPEN_FILES_OK} in /etc/security/limits.conf; docker run --ulimit nofile=...)."
    )
    return Finding(severity, "open files", f"{soft} per process", cure)


def judge_address_space(limit_bytes: int, memory_bytes: int) -> Finding:
    """The finding about `ulimit -v` on a machine with `memory_bytes`: each of Ray's processes maps its object store."""
    if limit_bytes == resource.RLIM_INFINITY:
        return Finding(Severity.OK, "address space", "no limit")
    limit_gib = limit_bytes / _GIB
    needed_gib = _STORE_SHARE * memory_bytes / _GIB + _BESIDE_STORE_GIB
    if limit_gib >= needed_gib:
        return Finding(Severity.OK, "address space", f"{limit_gib:.0f} GiB per process")
    found = (
        f"ulimit -v allows a process {limit_gib:.1f} GiB of address space, and Ray's processes reserve "
        f"{needed_gib:.0f} GiB on this machine"
    )
    return Finding(Severity.FAIL, "address space", found, "ulimit -v unlimited, in the shell that starts the search.")


def judge_memory(available_gib: float) -> Finding:
    """The finding about main memory."""
    found = f"{available_gib:.1f} GiB available"
    if available_gib >= _MEMORY_OK_GIB:
        return Finding(Severity.OK, "memory", found)
    severity = Severity.WARN if available_gib >= _MEMORY_LEAST_GIB else Severity.FAIL
    return Finding(
        severity, "memory", found, "End other processes, or use fewer --lanes: each lane is a separate process."
    )


def judge_ray_folder(folder: Path) -> Finding:
    """The finding about the folder of Ray's sessions: it must be writable, and its sockets' paths not too long."""
    longest = len(os.fsencode(f"{folder}{_RAY_SOCKET}"))
    if longest > _SOCKET_PATH_LIMIT:
        found = f"{folder}: paths of sockets in it take {longest} bytes, and may take {_SOCKET_PATH_LIMIT} at most"
        return Finding(Severity.FAIL, "Ray's folder", found, "Set RAY_TMPDIR to a short path, such as /tmp.")
    sessions = folder / "ray"  # may belong to another user: the first one who ran Ray here
    if _writable_gib(sessions) is None:
        cure = "Set RAY_TMPDIR to a short path of your own, such as /tmp/ray-$USER, and make that folder."
        return Finding(Severity.FAIL, "Ray's folder", f"{sessions} cannot be written by you", cure)
    return Finding(Severity.OK, "Ray's folder", str(sessions))


def judge_home(environment: Mapping[str, str], home: Path | None) -> Finding:
    """The finding about the home folder, where Ray keeps its token.

    home: None if there is none, as in a container with --user.
    """
    if environment.get("RAY_AUTH_MODE") == "disabled" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & environment.keys():
        return Finding(Severity.OK, "home folder", "not needed: Ray's token is elsewhere")
    if home is not None and _writable_gib(home / ".ray") is not None:
        return Finding(Severity.OK, "home folder", str(home))
    found = "there is none" if home is None else f"{home} cannot be written"
    return Finding(Severity.FAIL, "home folder", f"{found}, and Ray writes its token there", _HOME_CURE)


def _check_port() -> Finding:
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.settimeout(5)
            client.connect(server.getsockname())
    except OSError as error:
        cure = "Ray's processes connect over 127.0.0.1: allow it in the firewall or sandbox, and unset proxies for it."
        return Finding(Severity.FAIL, "local network", f"127.0.0.1 cannot be reached ({error})", cure)
    return Finding(Severity.OK, "local network", "127.0.0.1 answers")


def _home() -> Path | None:
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_dir() else None


def free_disk_gib(folder: Path) -> float:
    """Free space in GiB on the disk where `folder` is or will be made."""
    return shutil.disk_usage(_nearest(folder)).free / _GIB


def _writable_gib(folder: Path) -> float | None:
    """`free_disk_gib`; None if `folder` cannot be written or made."""
    nearest = _nearest(folder)
    can_write = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return free_disk_gib(folder) if can_write else None


def _nearest(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _shared_memory_gib() -> float | None:
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).total / _GIB if folder.is_dir() else None


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory_gib() -> float:
    """Memory that new processes can take: the kernel's MemAvailable, or what the container's limit leaves if less."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    available = kilobytes["MemAvailable"] * 1024
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        available = min(available, int(text) - int(used.read_text(encoding="ascii")))
    return available / _GIB
