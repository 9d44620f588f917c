"""The forms of an export, compared on trainings of two epochs."""

from pathlib import Path

import numpy as np
import pytest

from tune_sa2va.bench.final.command import summed_up
from tune_sa2va.bench.final.forms import FormsBench
from tune_sa2va.config import RECIPE
from tune_sa2va.data import check, open_dataset
from tune_sa2va.data.procedural.folder import write_folder


@pytest.mark.slow  # three trainings of the tiny model and 18 predictions: half a minute
def test_every_form_is_scored_on_the_locked_images_and_the_base_is_as_before(tmp_path: Path) -> None:
    write_folder(tmp_path, "leg", 12, 64, 0)
    config = RECIPE.replace({"train.epochs": 2, "optimizer.lr": 3e-3, "lora.r": 4})
    bench = FormsBench.open(str(tmp_path), "tiny", check(open_dataset(tmp_path)).samples, [config])
    first = bench.scores(config, folds=2, seed=0)
    assert set(first) == {"best-run", "average", "ensemble", "refit"}
    assert all(0.0 < dice < 1.0 for dice in first.values()) and len(set(first.values())) == 4
    assert bench.scores(config, folds=2, seed=0) == first


def test_differences_are_paired_and_their_error_is_over_resplits() -> None:
    forms = {"best-run": -0.01, "average": 0.0, "ensemble": 0.002, "refit": 0.0}
    pieces = [
        {
            "configuration": c,
            "resplit": r,
            "dice": {form: 0.6 + 0.1 * r + more * (1 + r) for form, more in forms.items()},
        }
        for c in (0, 1)
        for r in (0, 1)
    ]
    rows = {row["form"]: row for row in summed_up(pieces)}
    assert rows["average"]["beside average"] == 0.0 and rows["average"]["dice"] == pytest.approx(0.65)
    assert rows["ensemble"]["beside average"] == pytest.approx(0.003)
    assert rows["ensemble"]["standard error"] == pytest.approx(np.std([0.002, 0.004], ddof=1) / np.sqrt(2))
    assert rows["best-run"]["worse by 0.005"] == 1.0 and rows["refit"]["worse by 0.005"] == 0.0
