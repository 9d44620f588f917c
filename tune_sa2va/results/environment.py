"""`environment.json`: versions, hardware, weights and data of a search, so that its results can be traced to them."""

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import tune_sa2va
from tune_sa2va.distribution import NAME, package_version
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.tuned import BaseModelName
from tune_sa2va.model.identity import model_files, model_hash
from tune_sa2va.nvidia_smi import query

FILE_NAME = "environment.json"

_PACKAGES = ("torch", "transformers", "peft", "ray", "optuna", "numpy", "pyarrow")


class Environment(BaseModel):
    """The parts of `environment.json` that code reads; versions and hardware are for human readers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_model: BaseModelName
    base_model_files: dict[str, str] = {}
    """Name -> hash of each file of the base model; empty if an older tune_sa2va wrote it."""
    data_fingerprint: str


def read_environment(folder: Path) -> Environment:
    """Reads `environment.json` of the search in `folder`.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    file = folder / FILE_NAME
    try:
        return Environment.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        reason = ": ".join(filter(None, (".".join(str(place) for place in first["loc"]), first["msg"])))
    except OSError as error:
        reason = error.strerror or str(error)
    raise ResultsError(
        f"{file}: cannot be read as a search's environment ({reason}). Put back a copy of it, or start a new search."
    )


def write_environment(folder: Path, *, model: str, model_folder: Path, data_fingerprint: str) -> None:
    """Writes `environment.json` into a results folder. Hardware is that of the machine that starts the search."""
    environment = {
        "versions": {"python": platform.python_version()} | _versions(),
        "hardware": _hardware(),
        "git": _git_commit(),
        "data_fingerprint": data_fingerprint,
        "base_model": {"id": model, "sha256": model_hash(model_folder)},
        "base_model_files": model_files(model_folder),
    }
    write_whole(folder / FILE_NAME, (json.dumps(environment, indent=2) + "\n").encode())


def _versions() -> dict[str, str]:
    return {NAME: package_version()} | {name: metadata.version(name) for name in _PACKAGES}


def _hardware() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [f"{name}, {mib} MiB" for name, mib in query("name", "memory.total") or []],
    }


def _cpu_name() -> str:
    """The CPU's name from /proc/cpuinfo; the architecture if it has none."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_commit() -> dict[str, Any] | None:
    """The commit of the checkout that the package runs from, and whether files have changed. None without one."""
    root = Path(tune_sa2va.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "changed": bool(_output("git", "-C", str(root), "status", "--porcelain"))}


def _output(*command: str) -> str:
    """The output of a command; "" if it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=20)  # noqa: S603 - our own words only
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
