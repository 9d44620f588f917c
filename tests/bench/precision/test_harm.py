"""Sums of differences between adapters trained over both bases, and a small measurement of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tune_sa2va.bench.precision.harm import HarmPlan, measure_harm, summed_up
from tune_sa2va.bench.record.plan import RecordingPlan
from tune_sa2va.bench.record.resident import resident_engine
from tune_sa2va.config import RECIPE
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.model.fp8 import Fp8Weight


def piece(configuration: int, seed: int, difference: float, *, own: float = 0.0) -> dict[str, object]:
    bf16 = 0.6 + 0.01 * configuration
    return {
        "configuration": configuration,
        "seed": seed,
        "dice": {"bf16": bf16, "fp8": bf16 + difference},
        "own": {"bf16": bf16, "fp8": bf16 + difference + own},
    }


def test_differences_are_paired_and_their_error_is_over_seeds() -> None:
    pieces = [piece(c, s, -0.001 * (1 + s) + 0.0001 * c, own=0.002 * s) for c in (0, 1) for s in (0, 1)]
    found = summed_up([*pieces, piece(2, 0, -0.018)], means=2)
    assert found["mean_difference"] == pytest.approx(-0.00145)
    assert found["standard_error"] == pytest.approx(np.std([0.001, 0.002], ddof=1) / np.sqrt(2))
    low, high = found["interval"]
    assert (low + high) / 2 == pytest.approx(-0.00145) and (high - low) / 2 == pytest.approx(12.706 * 0.0005, rel=1e-3)
    assert found["rank_correlation"] == pytest.approx(0.5) and found["ranked"] == 3  # 0, 1, 2 became 0, 2, 1
    assert found["largest_difference_of_an_adapter"] == pytest.approx(0.002)


def test_the_last_of_too_few_pieces_has_no_error() -> None:
    found = summed_up([piece(0, 0, 0.001)], means=1)
    assert found["standard_error"] is found["interval"] is found["rank_correlation"] is None


def test_the_other_engine_computes_in_fp8() -> None:
    """Dice on a few small images is no sign of it: hardly a pixel changes."""
    engine = resident_engine("tiny", [RECIPE], torch.device("cpu"), precision="fp8")
    attention, mlp = engine.layers._weights()[0]
    products = (attention.qkv, attention.out, mlp.gate_up, mlp.down)
    assert all(isinstance(product.weight, Fp8Weight) for product in products)


@pytest.mark.slow  # eight trainings of the tiny model in another process
def test_a_measurement_is_continued(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "leg", 12, 64, 0)
    recording = RecordingPlan(
        data=str(tmp_path / "data"), space="lora", model="tiny", num_configurations=3, folds=2, seeds=2, epochs=1
    )
    plan, out = HarmPlan(recording, means=1), tmp_path / "out"
    assert sorted(plan.tasks) == [(0, 0), (0, 1), (1, 0), (2, 0)]
    found = measure_harm(plan, out, processes=1)
    assert found["done"] == found["wanted"] == 4 and found["ranked"] == 3
    assert all(piece["own"]["bf16"] == pytest.approx(piece["dice"]["bf16"], abs=1e-3) for piece in found["pieces"])
    written = {path: path.stat().st_mtime_ns for path in (out / "pieces").iterdir()}
    assert measure_harm(plan, out, processes=1) == found
    assert {path: path.stat().st_mtime_ns for path in (out / "pieces").iterdir()} == written
