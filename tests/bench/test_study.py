"""The study: what is asked of each search, and what comes out of the scores that searches leave."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image

from tests.data.making import grouped_set
from tests.report import making
from tune_sa2va.bench.record.pieces import PIECES, gather, write_piece, write_recording
from tune_sa2va.bench.record.plan import Run
from tune_sa2va.bench.study import cells
from tune_sa2va.bench.study.ablation import ablation_plan, ablation_rows
from tune_sa2va.bench.study.cells import Execution, StudyPlan, cells_of, run_cells
from tune_sa2va.bench.study.command import study
from tune_sa2va.bench.study.figures import study_figures
from tune_sa2va.bench.study.importance import study_importances
from tune_sa2va.bench.study.outcome import Outcome, read_outcome
from tune_sa2va.bench.study.pictures import write_pictures
from tune_sa2va.bench.study.rows import NAMES, SEARCHES
from tune_sa2va.bench.study.table import markdown, rows_of
from tune_sa2va.bench.study.unet import unet_rows
from tune_sa2va.config import RECIPE
from tune_sa2va.data import split_by_group
from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.report import importance


def an_outcome() -> Outcome:
    """Two seeds of six patients: `wide` gains 0.02 in the first seed, and loses 0.01 in the second, on one image
    each; in the first seed one patient has nine images more."""
    rows = []
    for seed, gain in ((0, 0.02), (1, -0.01)):
        images = [(f"img-{patient}", f"grp-{patient}") for patient in range(6)]
        images += [(f"img-0{number}", "grp-0") for number in range(9)] if seed == 0 else []
        for image, group in images:
            for key, dice in (("recipe", 0.6), ("wide", 0.6 + gain)):
                rows.append(
                    {"seed": seed, "key": key, "image_code": image, "text": "", "group_code": group, "dice": dice}
                    | {"cl_dice": 0.5, "hd95_px": 4.0, "betti_error": 3.0, "recipe_dice": 0.6}
                )
    curve = {"hours": [0.1, 0.2, 0.4], "gain": [-0.01, 0.03, 0.03], "epochs": [1, 2, 3]}
    curves = [pd.DataFrame(curve).assign(seed=seed, key="wide") for seed in (0, 1)]
    return Outcome(pd.DataFrame(rows), pd.concat(curves, ignore_index=True), pd.DataFrame())


def test_a_row_is_the_mean_over_seeds_however_many_images_they_have() -> None:
    recipe, folded = rows_of(an_outcome())
    assert (recipe.key, recipe.gain, recipe.worse) == ("recipe", 0.0, 0) and np.isnan(recipe.hours)
    assert folded.gain == pytest.approx(0.005) and folded.dice == pytest.approx(0.605)
    assert folded.sd == pytest.approx(np.std([0.02, -0.01], ddof=1)) and folded.worse == 1
    assert folded.low <= folded.gain <= folded.high
    assert (folded.hours, folded.hours_to_best) == (0.4, 0.2)
    assert f"| {NAMES['wide']} | 2 | 0.605 | +0.005 [" in markdown([folded])


def test_figures_show_every_row_but_the_recipe_itself() -> None:
    outcome = an_outcome()
    anytime, differences, ablation, importance = study_figures(outcome, rows_of(outcome), [], [])
    assert ablation.plot is None and importance.plot is None
    assert anytime.plot is not None and NAMES["wide"] in [trace.name for trace in anytime.plot.data]
    assert differences.plot is not None and set(differences.plot.data[-1].y) == {NAMES["wide"]}


def test_the_ablation_is_what_a_recording_says(tmp_path: Path) -> None:
    """Two images of two patients: the second configuration finds 10 pixels more of one; the third failed."""
    plan = ablation_plan(StudyPlan(data="set", epochs=2), seeds=1)
    folder = tmp_path / "ablation"
    (folder / PIECES).mkdir(parents=True)
    for number, found, epochs in ((0, 50, 2), (1, 60, 2), (2, 50, 1)):
        counts = [[Counts(50, 0, 50, 100)], [Counts(found, 0, 100 - found, 100)]][:epochs]
        write_piece(folder, Run(number, 0, 0), [0], counts, seconds=1.0)
        write_piece(folder, Run(number, 1, 0), [1], [[Counts(50, 0, 50, 100)]] * epochs, seconds=1.0)
    codes = [("img-0", "grp-0"), ("img-1", "grp-1")]
    write_recording(folder / "set.parquet", gather(folder, plan.runs(), codes))
    recipe, other = ablation_rows(plan, folder)
    assert recipe.name == "the recipe" and recipe.dice == pytest.approx(2 / 3) and np.isnan(recipe.gain)
    assert other.gain == pytest.approx((0.75 - 2 / 3) / 2) and (other.images, other.failed) == (2, 0)
    assert ablation_rows(plan, tmp_path) == []
    configs = plan.configs()
    assert configs[0] == RECIPE.replace({"train.epochs": 2}) and len({str(each) for each in configs}) == len(configs)


def test_seed_by_seed_and_another_study_is_not_gone_on_with(tmp_path: Path) -> None:
    plan = StudyPlan(data="data", seeds=2, rows=("wide", "random"))
    assert [cell.name for cell in cells_of(plan)] == ["wide-0", "random-0", "wide-1", "random-1"]
    plan.save(tmp_path)
    plan.save(tmp_path)
    with pytest.raises(UserError, match="holds another study"):
        StudyPlan(data="data", seeds=3).save(tmp_path)
    assert next(row.flags_for(9) for row in SEARCHES if row.key == "random")[-1] == "9"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interruption_stops_the_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, code: int
) -> None:
    """Stand-ins for searches sleep for a minute."""
    sleeps = ["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"]
    monkeypatch.setattr(cells._Runner, "_command", lambda *_: sleeps)
    plan = StudyPlan(data="data", seeds=2, rows=("wide", "random"))
    execution = Execution(place=[], processes=2, minutes=None, compiled=True)

    def send_when_both_run() -> None:
        while len(psutil.Process().children()) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), sent)

    threading.Thread(target=send_when_both_run).start()
    with pytest.raises((SystemExit, KeyboardInterrupt)) as left:
        run_cells(plan, tmp_path, execution, unet_epochs=0)
    assert psutil.Process().children() == []
    assert getattr(left.value, "code", 130) == code


def test_the_unet_finds_what_is_brighter(tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="the extra `study` is not installed")
    samples = split_by_group(grouped_set(tmp_path / "data", tuple("abcdef")), (0.4, 0.3, 0.3), seed=1)
    rows = unet_rows(samples, epochs=2, seed=0, device=torch.device("cpu"))
    assert len(rows) == sum(sample.split == "test" for sample in samples)
    assert all(0.0 <= row["dice"] <= 1.0 and row["group_code"].startswith("grp-") for row in rows)


def test_pictures_and_importances_are_of_searches_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "_RESAMPLES", 3)
    plan, out = StudyPlan(data="set", seeds=1), tmp_path / "out"
    assert write_pictures(plan, out, "deep").startswith("No pictures: no search")
    assert study_importances(plan, out) == []
    for name in ("deep-0", "random-0"):
        making.whole_run(out / name, tmp_path / name)
        (out / name / "summary.txt").touch()
    assert write_pictures(plan, out, "deep") == f"Pictures: {out / 'pictures.jpg'}"
    with Image.open(out / "pictures.jpg") as sheet:
        colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    # Every model misses vessel, and none invents any.
    assert (np.ptp(colours.astype(int), axis=1) > 60).any()
    assert "optimizer.lr" in [found.path for found in study_importances(plan, out)]
    shutil.rmtree(tmp_path / "deep-0")
    assert write_pictures(plan, out, "deep").startswith("No pictures: ")


@pytest.mark.slow  # two searches, one of them with folds: three minutes
@pytest.mark.timeout(1800)
def test_a_study_of_one_seed(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", DEMO_FAMILY, count=12, size=96, seed=0)
    plan = StudyPlan(data=str(tmp_path / "data"), seeds=1, trials=2, epochs=1, rows=("tpe-asha", "wide"))
    place = ["--gpus", "0", "--lanes", "2"]

    def make(minutes: float | None) -> bool:
        execution = Execution(place=place, processes=1, minutes=minutes, compiled=True)
        return study(plan, tmp_path / "out", execution, unet_epochs=0, ablation_seeds=0)

    assert not make(0.2), "the time is short"
    assert make(None)
    outcome = read_outcome(plan, tmp_path / "out")
    assert set(outcome.scores["key"]) == {"untuned", "recipe", "tpe-asha", "wide", "ensemble"}
    assert not outcome.scores[["dice", "recipe_dice", "group_code"]].isna().any().any()
    assert set(outcome.curves["key"]) == {"tpe-asha", "wide"}
    assert (tmp_path / "out" / "table.md").is_file()
