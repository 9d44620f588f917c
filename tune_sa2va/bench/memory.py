"""Compares the memory estimate with the memory that real trials of each rank and image size reserve on the card.

One process measures all cases on one loaded model, which saves time: torch.compile makes kernels for the first shapes,
then for all shapes. Graphs and batches take the same memory as in a process of their own, and everything of a case is
freed before the next begins.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tune_sa2va.bench.step import Bench, Case, measure
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.preprocess import num_tiles
from tune_sa2va.train.memory import estimate_memory

_TRAIN_IMAGES, _VAL_IMAGES = 3, 16
"""The first call of a step runs eagerly, the second is captured, the third replayed; validation has batches of 8."""


def memories(
    bench: Bench, sides_px: Sequence[int], ranks: Sequence[int], *, limit_s: float
) -> Iterator[dict[str, Any]]:
    """Estimate and measurement of each case; none begins after `limit_s` seconds. On a CPU, measurements are None."""
    started = time.monotonic()
    for side in sides_px:
        for r in ranks:
            if time.monotonic() - started < limit_s:
                yield _compare(bench, side, r)


def _compare(bench: Bench, side_px: int, r: int) -> dict[str, Any]:
    on_gpu = bench.device.type == "cuda"
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    case = Case(
        height=side_px, width=side_px, r=r, max_rank=r, train_images=_TRAIN_IMAGES, val_images=_VAL_IMAGES
    )  # fmt: skip
    found = measure(bench, case)
    estimate = estimate_memory(
        model_folder(bench.name), case.config, precision=bench.settings.precision, on_gpu=on_gpu,
        width_px=side_px, height_px=side_px,
    )  # fmt: skip
    measured = {"step": found["reserved_gib"], "card": found["reserved_gib"] + found["outside_gib"]}
    estimated = {"step": estimate.step_gib, "card": max(estimate.step_gib, estimate.base_gib) + estimate.context_gib}
    row: dict[str, Any] = {
        "side_px": side_px, "tiles": num_tiles(side_px, side_px, bench.model.dims), "tokens": estimate.tokens, "r": r,
        "base_gib": estimate.base_gib, "adapters_gib": estimate.adapters_gib,
        "activations_gib": estimate.activations_gib, "held_gib": estimate.held_gib,
    }  # fmt: skip
    for name, value in measured.items():
        row[f"{name}_estimate_gib"] = estimated[name]
        row[f"{name}_measured_gib"] = value if on_gpu else None
        row[f"{name}_difference_percent"] = 100 * (estimated[name] / value - 1) if on_gpu else None
    return row | {"later_reserved_gib": found["later_reserved_gib"] if on_gpu else None}
