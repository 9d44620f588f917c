"""`bench precision`: writes the comparisons as JSON and prints their tables."""

from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from tune_sa2va.bench.machine import describe
from tune_sa2va.bench.precision.harm import HarmPlan, measure_harm
from tune_sa2va.bench.precision.layers import KINDS, compare_gradients, compare_layers
from tune_sa2va.bench.record.plan import RecordingPlan
from tune_sa2va.bench.report import show, write_json
from tune_sa2va.config import ModelSettings
from tune_sa2va.train.workbench import open_model

_MEASURES = ("forward_error", "forward_cosine", "backward_error", "backward_cosine")


def compare(name: str, device: torch.device, out: Path, *, side_px: int) -> None:
    """Compares products and gradients by layer; writes precision.json."""
    about = describe(device) | {"model": name, "side_px": side_px}
    base = open_model(ModelSettings(model=name, precision="bf16"), device)
    layers = compare_layers(base)
    del base
    write_json(out / "precision.json", about | {"products": layers})  # so that a later failure does not lose it
    gradients = compare_gradients(name, device, side_px=side_px)
    write_json(out / "precision.json", about | {"products": layers, "gradients": gradients})
    means: list[dict[str, Any]] = []
    for kind in KINDS:
        own = [row for row in layers if row["kind"] == kind]
        means.append({"kind": kind} | {measure: fmean(row[measure] for row in own) for measure in _MEASURES})
    show(f"products in fp8 against bf16, mean over layers: {name}", means, ("kind", *_MEASURES))
    show("cosine of the gradients of all B of a layer", gradients, ("layer", "fp8_bf16", "fp8_fp32", "bf16_fp32"))


def harm(recording: RecordingPlan, out: Path, *, means: int, processes: int) -> None:
    """Trains adapters over both bases and scores them over bf16; writes harm.json beside the pieces."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = measure_harm(HarmPlan(recording, means), out, processes=processes)
    write_json(out / "harm.json", describe(device) | {"model": recording.model} | found)
    columns = ("done", "wanted", "seeds", "mean_difference", "standard_error", "rank_correlation", "ranked")
    show(f"Dice over fp8 minus Dice over bf16: {found['data']}", [found], columns)
