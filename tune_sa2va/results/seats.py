"""`seats.json`: what lanes measured to choose how many trials share their steps."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tune_sa2va.durable import write_whole
from tune_sa2va.train.records import SeatPace

FILE_NAME = "seats.json"


def note_measured(folder: Path, lane: str, seats: int, paces: Sequence[SeatPace]) -> None:
    """Adds what a lane measured to the file. seats: the number that it took. paces: with one seat, and with several.

    The file is for people, and what was noted in a damaged one is lost.
    """
    file = folder / FILE_NAME
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        known = []
    row = {
        "lane": lane,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seats": seats,
        "paces": [asdict(pace) for pace in paces],
    }
    rows = [*(known if isinstance(known, list) else []), row]
    write_whole(file, (json.dumps(rows, indent=2) + "\n").encode())
