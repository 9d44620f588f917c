"""The table of a study: each row on the locked patients of all seeds, compared with the recipe of its own search."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from tune_sa2va.bench.replay.table import WORSE_BY
from tune_sa2va.bench.study.outcome import Outcome
from tune_sa2va.bench.study.rows import NAMES
from tune_sa2va.evaluate.bootstrap import mean_interval

_OF_THE_BEST = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table, over all seeds that have it.

    dice, cl_dice, hd95_px, betti_error: means over seeds of means over locked images.
    gain: Dice minus that of the recipe, averaged in the same way. low, high: its 95% interval by bootstrap over
        patients, each with all its images of all seeds. sd: its standard deviation over seeds; NaN for one seed.
    worse: number of seeds with a gain below -WORSE_BY.
    hours: of lanes, median over seeds; NaN for rows that are not searches. hours_to_best: until the best score so far
        reached the share _OF_THE_BEST of its final gain.
    """

    key: str
    seeds: int
    dice: float
    gain: float
    low: float
    high: float
    sd: float
    worse: int
    cl_dice: float
    hd95_px: float
    betti_error: float
    hours: float
    hours_to_best: float


def rows_of(outcome: Outcome) -> list[Row]:
    """The rows, in the order of NAMES."""
    return [
        _row(key, outcome.scores[outcome.scores["key"] == key], outcome.curves)
        for key in NAMES
        if (outcome.scores["key"] == key).any()
    ]


def _row(key: str, scores: pd.DataFrame, curves: pd.DataFrame) -> Row:
    scores = scores.assign(gain=scores["dice"] - scores["recipe_dice"])
    seeds = scores.groupby("seed")[["dice", "gain", "cl_dice", "hd95_px", "betti_error"]].mean()
    # Every seed has the same weight, whatever the number of images in its locked part.
    weights = scores["seed"].map(len(scores) / (len(seeds) * scores.groupby("seed").size()))
    interval = mean_interval((scores["gain"] * weights).tolist(), scores["group_code"].tolist())
    own = [curve for _, curve in curves[curves["key"] == key].groupby("seed")] if len(curves) else []
    return Row(
        key=key,
        seeds=len(seeds),
        **{name: float(seeds[name].mean()) for name in ("dice", "gain", "cl_dice", "hd95_px", "betti_error")},
        low=interval.low,
        high=interval.high,
        sd=float(seeds["gain"].std(ddof=1)) if len(seeds) > 1 else float("nan"),
        worse=int((seeds["gain"] < -WORSE_BY).sum()),
        hours=_median(curve["hours"].iloc[-1] for curve in own),
        hours_to_best=_median(_until_best(curve) for curve in own),
    )


def _until_best(curve: pd.DataFrame) -> float:
    gained = curve["gain"] - min(0.0, curve["gain"].iloc[0])
    return float(curve["hours"][gained >= _OF_THE_BEST * gained.iloc[-1]].iloc[0])


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.median(found)) if found else float("nan")


def markdown(rows: list[Row]) -> str:
    """The table as Markdown."""
    lines = [
        "| | seeds | Dice | beside the recipe [95%, patients] | SD of seeds | worse | clDice | HD95, px | Betti error "
        "| hours | to the best |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        has_time = not np.isnan(row.hours)
        times = (f"{row.hours:.2f}", f"{row.hours_to_best:.2f}") if has_time else ("", "")
        spread = "" if np.isnan(row.sd) else f"{row.sd:.3f}"
        lines.append(
            f"| {NAMES[row.key]} | {row.seeds} | {row.dice:.3f} | {row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}] "
            f"| {spread} | {row.worse} | {row.cl_dice:.3f} | {row.hd95_px:.1f} | {row.betti_error:.1f} "
            f"| {times[0]} | {times[1]} |"
        )
    return "\n".join(lines) + "\n"


def to_frame(rows: list[Row]) -> pd.DataFrame:
    """The table as a frame."""
    return pd.DataFrame([asdict(row) for row in rows])
