"""The benchmarks run on a CPU with the tiny preset, and write what they print."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tune_sa2va.bench.__main__ import app


def test_step(tmp_path: Path) -> None:
    flags = ["--size", "64", "--images", "2", "--rank", "2", "--max-rank", "4", "--profile", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["step", *flags])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "step.json").read_text())
    (case,) = written["cases"]
    assert case["it_per_s"] == pytest.approx(1e3 / case["train_ms_per_image"])
    assert case["ms"]["llm_forward"] > 0
    assert written["ceiling_tflops"] > case["tflops"] > 0
    assert "step: tiny on cpu" in result.output
    kernels = json.loads((tmp_path / "kernels_64_1.json").read_text())["kernels"]
    assert sum(kernel["ms"] for kernel in kernels) == pytest.approx(sum(case["kernels_ms"].values()))
    assert {"matrix products", "attention", "copies"} <= set(case["kernels_ms"])


@pytest.mark.slow
def test_step_of_several_seats(tmp_path: Path) -> None:
    flags = ["--size", "64", "--images", "1", "--rank", "2", "--max-rank", "4", "--seats", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["step", *flags])
    assert result.exit_code == 0, result.output
    (case,) = json.loads((tmp_path / "step.json").read_text())["cases"]
    assert case["seats"] == 2 and case["it_per_s"] == pytest.approx(1e3 / case["train_ms_per_image"])
    assert case["ms"]["gradients_of_a_batch"] > case["ms"]["llm_forward"] > 0


def test_turnaround(tmp_path: Path) -> None:
    flags = ["--size", "64", "--rank", "2", "--rank", "4", "--seats", "1", "--seats", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["turnaround", *flags])
    assert result.exit_code == 0, result.output
    cases = json.loads((tmp_path / "turnaround.json").read_text())["cases"]
    assert [(case["seats"], case["r"]) for case in cases] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert all(case["turnaround_s"] > 0 for case in cases)


@pytest.mark.slow
def test_memory_on_a_cpu_says_that_nothing_was_measured(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["memory", "--size", "64", "--rank", "2", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "nothing was measured" in result.output
    (case,) = json.loads((tmp_path / "memory.json").read_text())["cases"]
    assert case["r"] == 2 and case["step_estimate_gib"] > 0
    assert case["step_measured_gib"] is case["step_difference_percent"] is None


def test_memory_stops_at_its_limit(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["memory", "--size", "64", "--limit-s", "0", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "3 cases were not measured" in result.output
