"""Predicts the time of a search from measured parts, by simulating its lanes with ASHA's own rule.

The parts come from benchmark files or from a search's own records. The records test whether the simulation is right,
the benchmark files whether benchmarks predict the time of a search.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tune_sa2va.bench.lane_split import split_lanes
from tune_sa2va.errors import UserError
from tune_sa2va.results.settings import REDUCTION_FACTOR
from tune_sa2va.schedule.expected_length import SIMULATIONS, SimulatedSearch, simulate


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Measured seconds. train, val: of one epoch. between_epochs: checkpoint and engine. turnaround: from the end of a
    trial to the next one's first step. opening: extra time of a lane's first epoch, mostly compilation."""

    train_s: float
    val_s: float
    between_epochs_s: float
    turnaround_s: float
    opening_s: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The size of a search. epochs: most of a trial."""

    trials: int
    epochs: int
    lanes: int


def parts_of_benchmarks(folder: Path, *, side_px: int, train_images: int, val_images: int) -> Parts:
    """The parts in the files that `bench step` and `bench turnaround` wrote to a folder.

    opening: the longest first epoch, in which kernels were compiled. turnaround: the mean of all but the first trial.
    The time between two epochs of a trial is in neither file, and taken as 0. Cases with several seats are left out.

    Raises:
        UserError: the folder lacks a file for images of this size.
    """
    step = [
        case
        for case in _cases(folder, "step*.json")
        if case["height"] == case["width"] == side_px and case.get("seats", 1) == 1
    ]
    turns = _cases(folder, "turnaround*.json")[1:]
    if not step or not turns:
        raise UserError(
            f"{folder}: needs step*.json with images of {side_px}x{side_px} and turnaround.json with two trials, got "
            f"{len(step)} and {len(turns)} such cases. Run `bench step --size {side_px}` and `bench turnaround` there."
        )
    chosen = min(step, key=lambda case: case["val_ms_per_image"])  # the case with most images, whose batches are full
    return Parts(
        train_s=train_images * chosen["train_ms_per_image"] / 1e3,
        val_s=val_images * chosen["val_ms_per_image"] / 1e3,
        between_epochs_s=0.0,
        turnaround_s=sum(case["turnaround_s"] for case in turns) / len(turns),
        opening_s=max(case["first_epoch_s"] for case in step),
        source=f"{folder.name}, {side_px}x{side_px}, {train_images} + {val_images} images",
    )


def parts_of_records(epochs: pd.DataFrame) -> Parts:
    """The parts of a search from its own epochs; the first epoch of each lane gives `opening`."""
    first = epochs.sort_values("ended_at").groupby("lane").head(1).index
    later = epochs.drop(first) if len(epochs) > len(first) else epochs
    together = split_lanes(epochs)[-1]
    num_turns = together["trials"] - len(first)
    num_between = len(epochs) - len(first) - num_turns
    opening_s = float(epochs.loc[first, "seconds"].mean() - later["seconds"].mean())
    return Parts(
        train_s=float(later["train_seconds"].mean()),
        val_s=float(later["val_seconds"].mean()),
        between_epochs_s=together["engine"] / max(1, num_between),
        turnaround_s=together["turnaround"] / max(1, num_turns),
        opening_s=max(0.0, opening_s),
        source="its own records",
    )


def predict(parts: Parts, load: Load, lengths: Sequence[int] | None = None) -> dict[str, Any]:
    """Seconds from the first step to the last epoch's end (mean, 10% and 90% quantiles), and shares of lanes' time.

    lengths: epochs of each trial, if known; None: ASHA is simulated.
    """
    played = [
        simulate(
            seed, trials=load.trials, epochs=load.epochs, lanes=load.lanes, reduction_factor=REDUCTION_FACTOR,
            epoch_s=parts.train_s + parts.val_s, between_epochs_s=parts.between_epochs_s,
            turnaround_s=parts.turnaround_s, opening_s=parts.opening_s, lengths=lengths,
        )
        for seed in range(SIMULATIONS if lengths is None else 1)
    ]  # fmt: skip
    ends = sorted(one.end for one in played)
    epochs = _mean(sum(one.lengths) for one in played)
    whole = _mean(load.lanes * one.end for one in played)
    return {
        "lanes": load.lanes, "trials": load.trials, "epochs": epochs, "seconds": _mean(ends),
        "low_s": ends[len(ends) // 10], "high_s": ends[-1 - len(ends) // 10],
        "training": epochs * parts.train_s / whole, "evaluation": epochs * parts.val_s / whole,
        "opening": load.lanes * parts.opening_s / whole, "idle": 1 - _mean(map(_busy, played)),
        "source": parts.source,
    }  # fmt: skip


def compare(folder: Path, epochs: pd.DataFrame, load: Load, given: Parts | None) -> list[dict[str, Any]]:
    """Rows of predicted against measured time: from the search's own parts and from `given` ones, each for the epochs
    that were run and for those that a simulation of ASHA expects."""
    begun = (epochs["ended_at"] - pd.to_timedelta(epochs["seconds"], unit="s")).min()
    measured_s = (epochs["ended_at"].max() - begun).total_seconds()
    counted = Counter(epochs["trial_id"])
    lengths = [counted[trial_id] for trial_id in sorted(counted)]
    ran = Load(trials=len(lengths), epochs=load.epochs, lanes=load.lanes)
    found = [(f"{folder.name}: epochs as run", predict(parts_of_records(epochs), ran, lengths))]
    found.append((f"{folder.name}: ASHA played", predict(parts_of_records(epochs), load)))
    if given is not None:
        found.append((f"{given.source}: epochs as run", predict(given, ran, lengths)))
        found.append((f"{given.source}: ASHA played", predict(given, load)))
    return [
        row | {"from": name, "measured_s": measured_s, "difference_percent": 100 * (row["seconds"] / measured_s - 1)}
        for name, row in found
    ]


def _busy(one: SimulatedSearch) -> float:
    return sum(one.ends) / (len(one.ends) * one.end)


def _mean(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _cases(folder: Path, pattern: str) -> list[dict[str, Any]]:
    files = sorted(folder.glob(pattern))
    return [case for file in files for case in json.loads(file.read_text(encoding="utf-8"))["cases"]]
