"""Splits the time of a search's lanes into parts, from the records that every results folder has.

Training and evaluation are measured by the worker. The time between two epochs of a lane is `engine` (checkpoint, Tune,
records) if both belong to one trial, and `turnaround` if the second belongs to the next trial. A lane is idle from its
last epoch to the last epoch of the search. Pauses of an interrupted search count as engine or turnaround.
"""

from typing import Any

import pandas as pd

PARTS = ("training", "evaluation", "turnaround", "engine", "idle")


def split_lanes(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per lane: seconds of each part from its first step on, their sum, and the share of work, in [0, 1].

    epochs: as `read_epochs` returns them; at least one. The last row is the sum over all lanes.
    """
    last = epochs["ended_at"].max()
    rows = [_of_lane(str(name), lane.sort_values("ended_at"), last) for name, lane in epochs.groupby("lane")]
    sums = {key: sum(row[key] for row in rows) for key in ("trials", "epochs", *PARTS)}
    return [_with_share(row) for row in (*rows, {"lane": "all", **sums})]


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
