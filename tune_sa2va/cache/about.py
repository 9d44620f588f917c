"""Records in a folder of the cache: its base model, and which files were ever requested.

The requested files tell a complete cache from one whose filling was interrupted. Their names are hashes of image files.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tune_sa2va.cache.key import CacheKey

ABOUT_NAME = "cache.json"
WANTED_PATTERN = "wanted-*.txt"


def note_model(folder: Path, key: CacheKey, model: str) -> None:
    """Records which base model's features the folder holds. model: name of a preset or of a checkpoint's folder."""
    _write_whole(folder / ABOUT_NAME, json.dumps({"model": model, **key.to_dict()}, indent=2) + "\n")


def read_about(folder: Path) -> dict[str, Any] | None:
    """What `note_model` wrote; None if the folder is not a folder of the cache."""
    try:
        about = json.loads((folder / ABOUT_NAME).read_text(encoding="utf-8"))
        key = CacheKey(**{name: value for name, value in about.items() if name != "model"})
        return about if "model" in about and key.folder_name == folder.name else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def note_wanted(folder: Path, names: Iterable[str]) -> None:
    """Adds the files of one data set to those that were requested."""
    text = "".join(f"{name}\n" for name in sorted(set(names)))
    path = folder / f"wanted-{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt"
    if not path.exists():
        _write_whole(path, text)


def wanted_names(folder: Path) -> set[str]:
    """Names of all files that were ever requested."""
    return {
        name
        for path in folder.glob(WANTED_PATTERN)
        for name in path.read_text(encoding="utf-8", errors="replace").splitlines()
    }


def _write_whole(path: Path, text: str) -> None:
    # Two processes may write the same text at once, so each uses a temporary name of its own.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
