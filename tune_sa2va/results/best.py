"""Which epoch of a trial counts. Records and lanes use this rule, and the export reads it from the records."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def best_epoch(epochs: Iterable[Mapping[str, Any]]) -> int | None:
    """With folds, the first epoch with the highest validation Dice; with one split, the last. None if no epoch counts.

    On the few images of one validation part, the best of many epochs is mostly luck: `bench replay` shows that searches
    gain more by the last (docs/how-it-works.md). As learning rates fall towards 0, it is rarely much worse.

    epochs: records of one trial, with `epoch` and `val_dice`. An epoch without a Dice (NaN), or one that was given up
        after some of its folds (`folds_left`), does not count.
    """
    whole = [record for record in epochs if not record.get("folds_left")]
    scored = [record for record in whole if not math.isnan(record["val_dice"])]
    if all(record.get("folds", 1) == 1 for record in scored):
        last = max(scored, key=lambda record: int(record["epoch"]), default=None)
        return None if last is None else int(last["epoch"])
    return int(max(scored, key=lambda record: (record["val_dice"], -record["epoch"]))["epoch"])
