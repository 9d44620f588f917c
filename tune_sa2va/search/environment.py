"""Where a search ran and on what: `environment.json`, which traces a number to versions, hardware and weights."""

import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import tune_sa2va
from tune_sa2va.search.records import write_whole

FILE_NAME = "environment.json"

_PACKAGES = ("tune-sa2va", "torch", "transformers", "peft", "ray", "optuna", "numpy", "pyarrow")

_WHOLE_BYTES = 64 * 2**20
"""Files up to this size are hashed whole."""
_NUM_SAMPLES = 256
_SAMPLE_BYTES = 64 * 2**10


def write_environment(folder: Path, *, model: str, model_folder: Path, data_fingerprint: str) -> None:
    """Writes `environment.json` into a results folder: of the machine that starts the search, GPUs of this one only."""
    environment = {
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "hardware": _hardware(),
        "git": _git_commit(),
        "data_fingerprint": data_fingerprint,
        "base_model": {"id": model, "sha256": model_hash(model_folder)},
    }
    write_whole(folder / FILE_NAME, (json.dumps(environment, indent=2) + "\n").encode())


def model_hash(folder: Path) -> str:
    """SHA-256 over the names, sizes and contents of a model folder's .json and .safetensors files.

    Files over 64 MiB are sampled, as 16 GB would take a minute: their first and last 64 KiB (the first holds the index
    of a safetensors file) and 254 pieces evenly between. Another training of all weights does not go unnoticed.
    """
    total = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors")):
        total.update(json.dumps([file.name, file.stat().st_size, _file_hash(file)]).encode())
    return total.hexdigest()


def _file_hash(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as content:
        if size <= _WHOLE_BYTES:
            return hashlib.file_digest(content, "sha256").hexdigest()
        digest = hashlib.sha256()
        for number in range(_NUM_SAMPLES):
            content.seek((size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1))
            digest.update(content.read(_SAMPLE_BYTES))
        return digest.hexdigest()


def _hardware() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").splitlines(),
    }


def _cpu_name() -> str:
    """As Linux names it; the architecture where it does not."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_commit() -> dict[str, Any] | None:
    """The commit of the checkout that the package runs from; None for an installed package."""
    root = Path(tune_sa2va.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "changed": bool(_output("git", "-C", str(root), "status", "--porcelain"))}


def _output(*command: str) -> str:
    """What a command says; nothing where it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)  # noqa: S603 - our own words only
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
