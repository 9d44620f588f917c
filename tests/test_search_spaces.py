"""Every search space that we ship loads, samples, and starts at the user's recipe."""

from pathlib import Path

import optuna
import pytest

from tune_sa2va.config import RECIPE
from tune_sa2va.space.search_space import load_space

FILES = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))


def test_the_four_are_there() -> None:
    assert [file.stem for file in FILES] == ["deep", "lora", "smoke", "wide"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_loads_and_samples(file: Path) -> None:
    space = load_space(file)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = set()
    for _ in range(20):
        trial = study.ask()
        space.suggest(trial)
        drawn.add(space.config(trial.params).model_dump_json())
    assert len(drawn) == 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_first_point_is_the_recipe(file: Path) -> None:
    space = load_space(file)
    assert space.config(space.recipe_point()) == RECIPE


def test_deep_draws_nothing_for_adapters_that_are_not_there() -> None:
    space = load_space("deep")
    assert set(space.conditional) == {"encoder.r", "encoder.lr_factor", "data.strength"}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        space.suggest(trial)
        config, drawn = space.config(trial.params), set(trial.params)
        assert ({"encoder.r", "encoder.lr_factor"} <= drawn) == (config.encoder.sam2 != "none")
        assert ("data.strength" in drawn) == config.runs_sam2
        assert set(space.counting(config.flat())) == drawn
        seen.add((config.encoder.sam2 != "none", config.runs_sam2))
    assert seen == {(False, False), (False, True), (True, True)}


@pytest.mark.parametrize("name", ["lora", "wide", "smoke"])
def test_the_others_draw_every_field_of_every_trial(name: str) -> None:
    assert not load_space(name).conditional


def test_wide_searches_what_the_design_lists() -> None:
    assert set(load_space("wide").dimensions) == {
        "lora.r",
        "lora.alpha_over_r",
        "lora.dropout",
        "optimizer.lr",
        "loss.focal",
        "loss.bce",
        "loss.focal_alpha",
        "loss.focal_gamma",
        "loss.lm",
        "optimizer.weight_decay",
        "optimizer.warmup_fraction",
        "train.full_modules",
    }
