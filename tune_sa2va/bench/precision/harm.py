"""Trains adapters over a base in fp8 and over the same base in bf16, and scores both over the one in bf16.

A piece is one configuration and seed. Seed s trains on all images outside group fold s and scores that fold, so the
seeds together score every image. Both adapters of a piece see the same images in the same order.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr, t

from tune_sa2va.bench.final.forms import FormsBench
from tune_sa2va.bench.processes import tasks_of, work_off
from tune_sa2va.bench.record.plan import RecordingPlan, of_fold, with_seed
from tune_sa2va.bench.record.resident import resident_engine
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import TrialFailure

PIECES = "pieces"
PRECISIONS = ("bf16", "fp8")


@dataclass(frozen=True, slots=True)
class HarmPlan:
    """recording: data, space, model, folds and epochs. means: configurations that are trained with every seed; the
    others are trained with the first."""

    recording: RecordingPlan
    means: int

    @property
    def tasks(self) -> list[tuple[int, int]]:
        """(configuration, seed) of each piece. Configurations that train the same modules follow each other."""
        configs = self.recording.configs()
        order = sorted(range(len(configs)), key=lambda number: (configs[number].train.full_modules, number))
        tasks = [(number, seed) for number in order for seed in range(self.recording.seeds)]
        return [(number, seed) for number, seed in tasks if number < self.means or seed == 0]


def measure_harm(plan: HarmPlan, out: Path, *, processes: int) -> dict[str, Any]:
    """Makes the missing pieces in `out`, without compiling, and returns the sums of all."""
    plan.recording.save(out)
    (out / PIECES).mkdir(exist_ok=True)
    todo = [task for task in plan.tasks if not _piece(out, *task).exists()]
    if todo:
        work_off(todo, _process, (plan, out), processes=min(processes, len(todo)), compiled=False)
    there = [path for task in plan.tasks if (path := _piece(out, *task)).exists()]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in there]
    return {
        "data": Path(plan.recording.data).name, "epochs": plan.recording.epochs,
        "done": len(found), "wanted": len(plan.tasks), **summed_up(found, plan.means), "pieces": found,
    }  # fmt: skip


def summed_up(pieces: Sequence[dict[str, Any]], means: int) -> dict[str, Any]:
    """Mean paired difference fp8 - bf16 over the first `means` configurations, and the ranks of all at seed 0.

    The standard error and the 95% interval (Student's t) are over seeds, because the configurations of a seed share
    their images. None where there are too few pieces. The largest difference of an adapter is that between its Dice
    over the base in fp8, which a search would record, and over the one in bf16, which an export would have.
    """
    seeds: dict[int, list[float]] = {}
    for piece in pieces:
        if piece["configuration"] < means:
            seeds.setdefault(piece["seed"], []).append(piece["dice"]["fp8"] - piece["dice"]["bf16"])
    own = [float(np.mean(differences)) for differences in seeds.values()]
    first = [piece["dice"] for piece in pieces if piece["seed"] == 0]
    error = float(np.std(own, ddof=1) / np.sqrt(len(own))) if len(own) > 1 else None
    half = None if error is None else float(t.ppf(0.975, len(own) - 1)) * error
    mean = float(np.mean(own)) if own else None
    ranks = spearmanr([dice["bf16"] for dice in first], [dice["fp8"] for dice in first]) if len(first) > 2 else None
    moved = [abs(piece["dice"]["fp8"] - piece["own"]["fp8"]) for piece in pieces]
    return {
        "largest_difference_of_an_adapter": max(moved, default=None),
        "mean_difference": mean,
        "standard_error": error,
        "interval": None if mean is None or half is None else [mean - half, mean + half],
        "seeds": len(own),
        "rank_correlation": None if ranks is None else float(ranks.statistic),
        "ranked": len(first),
    }


def _piece(out: Path, configuration: int, seed: int) -> Path:
    return out / PIECES / f"c{configuration:03d}-s{seed}.json"


def _process(plan: HarmPlan, out: Path, waiting: Any) -> None:
    import torch

    torch.set_num_threads(1)
    recording = plan.recording
    samples, configs = recording.samples(), recording.configs()
    scored = FormsBench.open(recording.data, recording.model, samples, configs)
    quantised = resident_engine(recording.model, configs, scored.engine.device, precision="fp8")
    benches = {"bf16": scored, "fp8": FormsBench(quantised, scored.images, samples)}
    fold_of = recording.fold_of(samples)
    for number, seed in tasks_of(waiting):
        train, val = of_fold(fold_of, seed)
        config, dice, own = with_seed(configs[number], seed), {}, {}
        try:
            for precision in PRECISIONS:
                with tempfile.TemporaryDirectory(prefix="tune_sa2va-precision-") as name:
                    folder = Path(name) / "checkpoint"
                    own[precision] = benches[precision].train(config, train, val, folder, fold=0)
                    dice[precision] = scored.dice([folder / "adapter"], val)
        except TrialFailure as failure:
            Console().print(f"configuration {number}, seed {seed} failed: {failure}")
            continue
        found = {"configuration": number, "seed": seed, "images": len(val), "dice": dice, "own": own}
        write_whole(_piece(out, number, seed), json.dumps(found).encode())
