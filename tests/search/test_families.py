"""A whole search on a base of each model family, up to the checked adapter and a merged checkpoint."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.test_families import golden, internlm2, qwen2_5_vl
from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.results.records import read_trials

SPACE = """
fixed: {lora.dropout: 0.0, lora.target_modules: TARGETS}
space:
  optimizer.lr: {log_uniform: [1.0e-5, 3.0e-3]}
"""


@pytest.mark.slow  # a minute each
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("checkpoint", "targets"),
    [
        (internlm2, "[wqkv, wo]"),
        (qwen2_5_vl, "[q_proj, v_proj]"),
        (golden("sa2va-internvl-tiny"), "[q_proj, v_proj]"),
        (golden("sa2va-qwen3vl-tiny"), "[q_proj, v_proj]"),
    ],
    ids=["internlm2", "qwen2.5-vl", "internvl", "qwen3-vl"],
)
def test_a_search_ends_with_a_checked_adapter(tmp_path: Path, checkpoint: Callable[[Path], Path], targets: str) -> None:
    (tmp_path / "model").mkdir()
    model = checkpoint(tmp_path / "model")
    write_folder(tmp_path / "data", DEMO_FAMILY, count=16, size=96, seed=0)
    (tmp_path / "space.yaml").write_text(SPACE.replace("TARGETS", targets))
    run(
        tmp_path, "search", "--model", str(model), "--data", str(tmp_path / "data"),
        "--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path), "--name", "run",
        "--gpus", "0", "--lanes", "1", "--trials", "2", "--epochs", "2",
    )  # fmt: skip
    assert read_trials(tmp_path / "run")["epochs"].tolist()[0] == 2
    told = json.loads((tmp_path / "run" / "best_adapter" / "tune_sa2va.json").read_text())
    assert told["verification"]["difference"] <= 1e-6
    run(tmp_path, "export", "--run", str(tmp_path / "run"), "--to", str(tmp_path / "merged"), "--merge")
    assert list((tmp_path / "merged").glob("*.safetensors"))


def run(folder: Path, *command: str) -> None:
    environment = os.environ | {"TUNE_SA2VA_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", f"tune_sa2va.{command[0]}", *command[1:]],
        capture_output=True, text=True, env=environment, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
