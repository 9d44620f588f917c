"""Predicts the time of a search from measured parts, by simulating its lanes with ASHA's own rule.

The parts come from benchmark files or from a search's own records. The records test whether the simulation is right,
the benchmark files whether benchmarks predict the time of a search.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tune_sa2va.bench.lane_split import rounds_of
from tune_sa2va.errors import UserError
from tune_sa2va.plan.table import is_recipe
from tune_sa2va.results.settings import REDUCTION_FACTOR
from tune_sa2va.schedule.expected_length import SIMULATIONS, SimulatedSearch, simulate
from tune_sa2va.words import count


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Measured seconds. train, val: of one round, an epoch of all who sit in a lane; with one seat of one trial.
    between_epochs: checkpoints and engine, between rounds of the same trials. turnaround: from the end of a trial to
    the next one's first step in its seat. opening: extra time of a lane's first round, mostly compilation."""

    train_s: float
    val_s: float
    between_epochs_s: float
    turnaround_s: float
    opening_s: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The size of a search. epochs: most of a trial. seats: of a lane."""

    trials: int
    epochs: int
    lanes: int
    seats: int = 1


def parts_of_benchmarks(
    folder: Path, *, side_px: int, train_images: int, val_images: int, seats: int = 1, fp8: bool = False
) -> Parts:
    """The parts in the files that `bench step`, `bench turnaround` and `bench search` wrote to a folder.

    Only cases with so many seats, and over a base in fp8 or not, count. Of steps only those of the recipe do: without
    dropout, other fields or gradient checkpointing. opening: their longest first epoch, in which kernels were compiled.
    turnaround: the mean of all but the first trial of each file. between_epochs: the mean in search*.json if the folder
    has one, else 0. The others measure an engine by itself, without checkpoints, Tune and waiting for each other.

    Raises:
        UserError: the folder lacks a file for images of this size.
    """
    step = [
        case
        for file in _contents(folder, "step*.json")
        for case in _cases(file, seats, fp8=fp8)
        if case["height"] == case["width"] == side_px and is_recipe(case)
    ]
    turns = [case for file in _contents(folder, "turnaround*.json") for case in _cases(file, seats, fp8=fp8)[1:]]
    if not step or not turns:
        base, flags = ("a base in fp8, ", " --precision fp8") if fp8 else ("", "")
        raise UserError(
            f"{folder}: needs step*.json with {base}images of {side_px}x{side_px} and {count(seats, 'seat')}, and "
            f"turnaround*.json with two such trials, got {len(step)} and {len(turns)} such cases. Run "
            f"`bench step --size {side_px} --seats {seats}{flags}` and `bench turnaround --seats {seats}{flags}` there."
        )
    chosen = min(step, key=lambda case: case["val_ms_per_image"])  # the case with most images, whose batches are full
    return Parts(
        # The cases have times per image of all seats.
        train_s=seats * train_images * chosen["train_ms_per_image"] / 1e3,
        val_s=seats * val_images * chosen["val_ms_per_image"] / 1e3,
        between_epochs_s=_between_epochs_s(folder, seats),
        turnaround_s=sum(case["turnaround_s"] for case in turns) / len(turns),
        opening_s=max(case["first_epoch_s"] for case in step),
        source=f"{folder.name}, {side_px}x{side_px}, {train_images} + {val_images} images",
    )


def parts_of_records(epochs: pd.DataFrame) -> Parts:
    """The parts of a search from its own epochs; the first round of each lane gives `opening`."""
    rounds = rounds_of(epochs)
    first = rounds["gap_s"].isna()
    later = rounds[~first] if not first.all() else rounds
    between, turning = rounds[~first & (rounds["started"] == 0)], rounds[~first & (rounds["started"] > 0)]
    opening_s = float(rounds.loc[first, "seconds"].mean() - later["seconds"].mean())
    return Parts(
        train_s=float(later["train_seconds"].mean()),
        val_s=float(later["val_seconds"].mean()),
        between_epochs_s=float(between["gap_s"].sum()) / max(1, len(between)),
        turnaround_s=float(turning["gap_s"].sum()) / max(1, int(turning["started"].sum())),
        opening_s=max(0.0, opening_s),
        source="its own records",
    )


def predict(parts: Parts, load: Load, lengths: Sequence[int] | None = None) -> dict[str, Any]:
    """Seconds from the first step to the last epoch's end (mean, 10% and 90% quantiles), and shares of the
    time of all seats.

    lengths: epochs of each trial, if known; None: ASHA is simulated.
    """
    played = [
        simulate(
            seed, trials=load.trials, epochs=load.epochs, lanes=load.lanes, seats=load.seats,
            reduction_factor=REDUCTION_FACTOR, epoch_s=parts.train_s + parts.val_s,
            between_epochs_s=parts.between_epochs_s, turnaround_s=parts.turnaround_s, opening_s=parts.opening_s,
            lengths=lengths,
        )
        for seed in range(SIMULATIONS if lengths is None else 1)
    ]  # fmt: skip
    ends = sorted(one.end for one in played)
    epochs = _mean(sum(one.lengths) for one in played)
    num_seats = load.lanes * load.seats
    whole = _mean(num_seats * one.end for one in played)
    return {
        "lanes": load.lanes, "seats": load.seats, "trials": load.trials, "epochs": epochs, "seconds": _mean(ends),
        "low_s": ends[len(ends) // 10], "high_s": ends[-1 - len(ends) // 10],
        "training": epochs * parts.train_s / whole, "evaluation": epochs * parts.val_s / whole,
        "opening": num_seats * parts.opening_s / whole, "idle": 1 - _mean(map(_busy, played)),
        "source": parts.source,
    }  # fmt: skip


def compare(folder: Path, epochs: pd.DataFrame, load: Load, given: Parts | None) -> list[dict[str, Any]]:
    """Rows of predicted against measured time: from the search's own parts and from `given` ones, each for the epochs
    that were run and for those that a simulation of ASHA expects."""
    begun = (epochs["ended_at"] - pd.to_timedelta(epochs["seconds"], unit="s")).min()
    measured_s = (epochs["ended_at"].max() - begun).total_seconds()
    counted = Counter(epochs["trial_id"])
    lengths = [counted[trial_id] for trial_id in sorted(counted)]
    ran = replace(load, trials=len(lengths))
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


def _contents(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob(pattern))]


def _cases(content: dict[str, Any], seats: int, *, fp8: bool) -> list[dict[str, Any]]:
    """The cases of a file with so many seats, if its base was such a one, with two copies if it was in fp8. Files of an
    earlier time name neither."""
    if (content.get("precision") == "fp8") != fp8 or content.get("fp8_copies", 2) != 2:
        return []
    return [case for case in content["cases"] if case.get("seats", 1) == seats]


def _between_epochs_s(folder: Path, seats: int) -> float:
    """Mean seconds between two epochs of a trial in the searches of the folder; 0 without one."""
    together = [
        content["lanes"][-1] for content in _contents(folder, "search*.json") if content.get("seats", 1) == seats
    ]
    gaps = sum(row["epochs"] - row["trials"] for row in together)
    return float(sum(row["engine"] for row in together)) / max(1, gaps)
