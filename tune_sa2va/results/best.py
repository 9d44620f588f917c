"""Which epoch of a trial counts: the records and the lanes ask here, and the export asks the records."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def best_epoch(epochs: Iterable[Mapping[str, Any]]) -> int | None:
    """The first epoch with the highest validation Dice; None where no epoch has one.

    epochs: records of one trial, with `epoch` and `val_dice`. One that was given up after some of its folds
    (`folds_left`) does not count.
    """
    whole = [record for record in epochs if not record.get("folds_left")]
    scored = [record for record in whole if not math.isnan(record["val_dice"])]
    best = max(scored, key=lambda record: (record["val_dice"], -record["epoch"]), default=None)
    return None if best is None else int(best["epoch"])
