"""Runs a whole search with the search command, and reports where its time went."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tune_sa2va.bench.adds_up import Load, compare, parts_of_benchmarks
from tune_sa2va.bench.lane_split import split_lanes
from tune_sa2va.errors import UserError
from tune_sa2va.results.records import read_epochs
from tune_sa2va.results.seats import trials_at_a_time
from tune_sa2va.results.settings import SearchSettings


def run_search(out: Path, name: str, flags: list[str]) -> dict[str, Any]:
    """Runs `python -m tune_sa2va.search`. Returns its wall time, and the machine's load before and after.

    Raises:
        UserError: the search failed; it has printed the reason.
    """
    before, started = os.getloadavg()[0], time.monotonic()
    command = [sys.executable, "-m", "tune_sa2va.search", "--quiet", "--out", str(out), "--name", name, *flags]
    code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command
    if code:
        raise UserError(f"{' '.join(command[1:])}: ended with exit code {code}, wanted 0. Its last lines say why.")
    return {
        "wall_s": time.monotonic() - started,
        "cores": os.cpu_count(),
        "load_before": before,
        "load_after": os.getloadavg()[0],
        "flags": flags,
    }


def account(folder: Path, parts: Path | None, side_px: int) -> dict[str, Any]:
    """How the lanes of a finished search spent their time, and predictions of that time.

    parts: a folder of benchmark files, for images of `side_px` and the search's seats and base, from which the search
        is also predicted; None: not. Where lanes measured their seats, they compiled before the first step.

    Raises:
        UserError: the folder holds no search with an epoch, or `parts` lacks a file.
    """
    epochs, settings = read_epochs(folder), SearchSettings.load(folder)
    if epochs.empty:
        raise UserError(f"{folder}: no trial has finished an epoch, so there is nothing to time. Give another folder.")
    images = pd.read_parquet(folder / "split.parquet")["split"].value_counts()
    seats = trials_at_a_time(settings) // settings.lanes
    given = None
    if parts is not None:
        given = parts_of_benchmarks(
            parts, side_px=side_px, train_images=int(images["train"]), val_images=int(images["val"]), seats=seats,
            fp8=settings.model.precision == "fp8",
        )  # fmt: skip
        given = replace(given, opening_s=0.0) if settings.probes_seats else given
    load = Load(trials=settings.trials, epochs=settings.epochs, lanes=settings.lanes, seats=seats)
    return {
        "model": settings.model.model,
        "seats": seats,
        "images": {str(part): int(count) for part, count in images.items()},
        "lanes": split_lanes(epochs),
        "predicted": compare(folder, epochs, load, given),
    }
