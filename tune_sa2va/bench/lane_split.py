"""Splits the time of a search's lanes into parts, from the records that every results folder has.

Training and evaluation are measured by the worker. The time between two epochs of a lane is `engine` (checkpoint, Tune,
records) if both belong to one trial, and `turnaround` if the second belongs to the next trial. A lane is idle from its
last epoch to the last epoch of the search. Pauses of an interrupted search count as engine or turnaround.

In a lane of several seats each seat counts by itself, as a lane does. The epochs of those who sit together overlap: all
of them last as long as the round. Rounds that a seat misses before its next trial sits down belong to its turnaround.
"""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

PARTS = ("training", "evaluation", "turnaround", "engine", "idle")


def split_lanes(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per lane, or per seat: seconds of each part from its first step on, their sum, and the share of work, in
    [0, 1].

    epochs: as `read_epochs` returns them; at least one. The last row is the sum over all lanes and seats.
    """
    last = epochs["ended_at"].max()
    rows = [_of_lane(str(name), lane.sort_values("ended_at"), last) for name, lane in epochs.groupby("lane")]
    sums = {key: sum(row[key] for row in rows) for key in ("trials", "epochs", *PARTS)}
    return [_with_share(row) for row in (*rows, {"lane": "all", **sums})]


def rounds_of(epochs: pd.DataFrame) -> pd.DataFrame:
    """A row per round of each lane, in order: `lane`, `started` (trials that were not in the lane before), the longest
    `seconds`, `train_seconds` and `val_seconds` of its epochs, and `gap_s` since the round before, which has the time
    until the last record was written. `gap_s` is NaN in the first round of a lane.

    epochs: as `read_epochs` returns them; at least one. An epoch that begins before another one of its lane has ended
    belongs to the same round.
    """
    ended_s = (epochs["ended_at"] - epochs["ended_at"].min()).dt.total_seconds()
    named = epochs.assign(lane=epochs["lane"].str.partition(" seat ")[0], ended_s=ended_s)
    in_order = named.assign(begun_s=ended_s - named["seconds"]).sort_values("begun_s")
    return pd.DataFrame([row for name, lane in in_order.groupby("lane") for row in _rounds_of_lane(str(name), lane)])


def _rounds_of_lane(name: str, lane: pd.DataFrame) -> Iterator[dict[str, Any]]:
    numbers: list[int] = []
    number, first_end_s = -1, -math.inf
    for begun_s, ended_s in zip(lane["begun_s"], lane["ended_s"], strict=True):
        if begun_s >= first_end_s:
            number, first_end_s = number + 1, ended_s
        numbers.append(number)
        first_end_s = min(first_end_s, ended_s)
    known: set[str] = set()
    before_s = math.nan
    for _, together in lane.groupby(numbers):
        longest = {part: float(together[part].max()) for part in ("seconds", "train_seconds", "val_seconds")}
        ended_s, trials = float(together["ended_s"].max()), set(together["trial_id"])
        gap_s = ended_s - before_s - longest["seconds"]
        yield {"lane": name, "started": len(trials - known), **longest, "gap_s": gap_s}
        known, before_s = known | trials, ended_s


def _of_lane(name: str, lane: pd.DataFrame, last: pd.Timestamp) -> dict[str, Any]:
    between = lane["ended_at"].diff().dt.total_seconds().iloc[1:] - lane["seconds"].iloc[1:]
    is_new = (lane["trial_id"] != lane["trial_id"].shift()).iloc[1:]
    return {
        "lane": name,
        "trials": lane["trial_id"].nunique(),
        "epochs": len(lane),
        "training": float(lane["train_seconds"].sum()),
        "evaluation": float(lane["val_seconds"].sum()),
        "turnaround": float(between[is_new].sum()),
        "engine": float(between[~is_new].sum()),
        "idle": (last - lane["ended_at"].max()).total_seconds(),
    }


def _with_share(row: dict[str, Any]) -> dict[str, Any]:
    whole = sum(row[part] for part in PARTS)
    return row | {"seconds": whole, "work_share": (row["training"] + row["evaluation"]) / whole}
