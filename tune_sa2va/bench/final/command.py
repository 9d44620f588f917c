"""Scores all configurations on all resplits, with several processes on one device, and sums them up in a table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from tune_sa2va.bench.final.forms import FormsBench
from tune_sa2va.bench.processes import tasks_of, work_off
from tune_sa2va.bench.report import show, write_json
from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.data import check, open_dataset
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import TrialFailure, UserError
from tune_sa2va.evaluate.tuned import FinalName

PIECES = "pieces"


def final(
    data: str, configurations: Path, numbers: Sequence[int], out: Path,
    *, model: str, resplits: int, folds: int, epochs: int, processes: int, compiled: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Computes what is missing in `out`, one file per configuration and resplit. Returns and writes the table of all.

    Raises:
        UserError: there is no such configuration.
    """
    configs = {number: config.replace({"train.epochs": epochs}) for number, config in _read(configurations, numbers)}
    (out / PIECES).mkdir(parents=True, exist_ok=True)
    # Resplit by resplit, so that an unfinished measurement is usable.
    tasks = [(number, seed) for seed in range(resplits) for number in numbers]
    todo = [task for task in tasks if not _piece(out, *task).exists()]
    if todo:
        work_off(todo, _process, (data, model, configs, out, folds), processes=processes, compiled=compiled)
    pieces = [json.loads(path.read_text(encoding="utf-8")) for task in tasks if (path := _piece(out, *task)).exists()]
    rows = summed_up(pieces)
    write_json(out / "final.json", {"data": Path(data).name, "folds": folds, "epochs": epochs, "rows": rows})
    show(
        f"{Path(data).name}: {len(pieces)} of {len(tasks)} configurations and resplits, {folds} folds, {epochs} epochs",
        rows, ("form", "dice", "beside average", "standard error", "worse by 0.005"),
    )  # fmt: skip
    return rows


def summed_up(pieces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per form: mean Dice on locked images, and the mean paired difference to `average` with its standard error.

    The standard error is over resplits, because the configurations of a resplit share patients. `worse by 0.005`: the
    share of cases in which the form is worse than `average` by more than 0.005.
    """
    rows = []
    for form in get_args(FinalName):
        seeds: dict[int, list[float]] = {}
        for piece in pieces:
            seeds.setdefault(piece["resplit"], []).append(piece["dice"][form] - piece["dice"]["average"])
        means, every = [float(np.mean(own)) for own in seeds.values()], [d for own in seeds.values() for d in own]
        error = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None
        rows.append(
            {
                "form": form,
                "dice": float(np.mean([piece["dice"][form] for piece in pieces])) if pieces else None,
                "beside average": float(np.mean(every)) if every else None,
                "standard error": error,
                "worse by 0.005": float(np.mean(np.array(every) < -0.005)) if every else None,
            }
        )
    return rows


def _read(path: Path, numbers: Sequence[int]) -> list[tuple[int, TrialConfig]]:
    known = {row.pop("configuration"): row for row in pq.read_table(path).to_pylist()}
    if missing := [number for number in numbers if number not in known]:
        raise UserError(f"{path}: has no configuration {missing[0]}. Give numbers from {min(known)} to {max(known)}.")
    return [(number, RECIPE.replace(known[number])) for number in numbers]


def _piece(out: Path, configuration: int, resplit: int) -> Path:
    return out / PIECES / f"c{configuration:03d}-r{resplit:03d}.json"


def _process(data: str, model: str, configs: dict[int, TrialConfig], out: Path, folds: int, waiting: Any) -> None:
    import torch

    torch.set_num_threads(1)
    bench = FormsBench.open(data, model, check(open_dataset(data)).samples, list(configs.values()))
    for number, seed in tasks_of(waiting):
        try:
            dice = bench.scores(configs[number], folds=folds, seed=seed)
        except TrialFailure as failure:
            Console().print(f"configuration {number}, resplit {seed} failed: {failure}")
            continue
        found = {"configuration": number, "resplit": seed, "dice": dice}
        write_whole(_piece(out, number, seed), json.dumps(found).encode())
