"""Tells whether a search runs, has ended or was interrupted, from its files; also if it runs on another machine."""

import json
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from tune_sa2va.results import lock
from tune_sa2va.results.records import EPOCHS_FILE, TRIALS_FILE
from tune_sa2va.watch.view import View

_SILENCE_EPOCHS = 3
"""A search on another machine counts as running if its files changed within this many times its longest epoch..."""

_SILENCE_S = 300.0
"""... or within these seconds: a lane may take minutes to open."""


class Life(StrEnum):
    """Whether a search runs, has ended, or can be resumed."""

    RUNNING = "running"
    ENDED = "ended"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class SearchStatus:
    """words: the state with its evidence, or what to do, for people."""

    life: Life
    words: str


def pulse(folder: Path, view: View, now: datetime) -> SearchStatus:
    """The status of the search in `folder` at the time `now`. view: its records."""
    owner = _owner(folder)
    here = owner.get("host") in (None, socket.gethostname())
    if lock.is_locked(folder):
        return SearchStatus(Life.RUNNING, f"running (process {owner.get('pid', '?')} on {owner.get('host', '?')})")
    if "ended_at" in owner and view.best is None:
        return SearchStatus(Life.ENDED, "ended, and no trial finished an epoch; trials.parquet has the reasons")
    is_over = len(view.ended) == len(view.trials) and len(view.ended_reruns) == len(view.reruns)
    if (folder / "summary.txt").is_file() and is_over:
        return SearchStatus(Life.ENDED, "ended; summary.txt has the scores of the test part")
    silent_s = (now - _last_sign(folder)).total_seconds()
    longest_s = max((epoch.seconds for epoch in view.epochs), default=0.0)
    if not here and silent_s < max(_SILENCE_EPOCHS * longest_s, _SILENCE_S):
        return SearchStatus(Life.RUNNING, f"running on {owner['host']} (its files changed {silent_s:.0f} s ago)")
    return SearchStatus(
        Life.INTERRUPTED,
        f"not running, and not at its end: killed or interrupted; last change {silent_s:.0f} s ago. "
        f"Go on with: python -m tune_sa2va.search --resume {folder}",
    )


def _owner(folder: Path) -> dict[str, object]:
    try:
        owner = json.loads((folder / lock.FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _last_sign(folder: Path) -> datetime:
    """When a record of the search last changed."""
    files = [folder / name for name in (TRIALS_FILE, EPOCHS_FILE, "search.yaml")]
    return datetime.fromtimestamp(max(file.stat().st_mtime for file in files if file.is_file()), UTC)
