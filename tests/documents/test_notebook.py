"""docs/notebook.ipynb runs as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def cells() -> list[str]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs_and_is_python() -> None:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] for cell in found if cell["cell_type"] == "code")
    for number, source in enumerate(cells()):
        compile(source, f"cell {number}", "exec")


@pytest.mark.slow  # a search of three trials and two reruns: minutes
@pytest.mark.timeout(900)
def test_its_cells_run_one_after_the_other(tmp_path: Path) -> None:
    """In a process of their own, as a kernel's."""
    script = tmp_path / "notebook.py"
    more = """
assert mask.shape == picture.shape[:2] and mask.any()
assert len(results.trials) == 3 and len(results.reruns) == 2 and results.winner.trial in set(results.reruns.trial_id)
assert set(results.split.split) == {"train", "val", "test"} and len(results.epochs) == results.trials.epochs.sum()
"""
    script.write_text("\n\n".join([*cells(), more]))
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=os.environ | {"TUNE_SA2VA_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
