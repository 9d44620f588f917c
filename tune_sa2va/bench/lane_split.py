"""Where the lanes' time went in a search, from the records that every results folder has.

Training and evaluation are what the worker measured. What lies between two epochs in a lane and belongs to neither is
engine (checkpoint, Tune, records) where both are of one trial, and turnaround where the second begins another trial.
A lane is idle from its last epoch to the search's last. What an interrupted search waited is engine or turnaround.
"""

from typing import Any

import pandas as pd

PARTS = ("training", "evaluation", "turnaround", "engine", "idle")


def split_lanes(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a lane: seconds of each part from its first step on, their sum, and the share of work in it, 0 to 1.

    epochs: as `read_epochs` gives them, at least one. The last row is all lanes together.
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
