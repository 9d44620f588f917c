"""`seats.json`: how many seats lanes took after they had measured that, or have left because memory ran out."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tune_sa2va.durable import write_whole
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.train.records import SeatPace

FILE_NAME = "seats.json"


def note_seats(folder: Path, lane: str, seats: int, said: Sequence[str], paces: Sequence[SeatPace]) -> None:
    """Adds to the file that a lane has so many seats now.

    said: why, in sentences. paces: measured with one seat and with several; empty if nothing was.
    """
    row = {
        "lane": lane,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seats": seats,
        "said": list(said),
        "paces": [asdict(pace) for pace in paces],
    }
    write_whole(folder / FILE_NAME, (json.dumps([*_read(folder), row], indent=2) + "\n").encode())


def trials_at_a_time(settings: SearchSettings) -> int:
    """How many trials run at a time at most, as far as lanes have told how many seats they have."""
    told = {row["lane"]: row["seats"] for row in _read(settings.folder)}
    return sum(told.get(f"lane {number}", settings.seats) for number in range(1, settings.lanes + 1))


def _read(folder: Path) -> list[dict[str, Any]]:
    """The rows. What was in a damaged file is lost: nothing but an estimate of time depends on it."""
    try:
        rows = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return [row for row in rows if isinstance(row["lane"], str) and isinstance(row["seats"], int)]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
