"""Every search space that we ship loads, samples, and starts at the user's recipe."""

from pathlib import Path

import optuna
import pytest

from tune_sa2va.config import RECIPE
from tune_sa2va.space.search_space import load_space

FILES = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))


def test_the_three_are_there() -> None:
    assert [file.stem for file in FILES] == ["lora", "smoke", "wide"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_loads_and_samples(file: Path) -> None:
    space = load_space(file)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {space.config(study.ask(space.distributions).params).model_dump_json() for _ in range(20)}
    assert len(drawn) == 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_first_point_is_the_recipe(file: Path) -> None:
    space = load_space(file)
    assert space.config(space.recipe_point()) == RECIPE


def test_the_default_searches_what_the_design_lists() -> None:
    assert set(load_space("lora").dimensions) == {
        "lora.r",
        "lora.alpha_over_r",
        "lora.dropout",
        "optimizer.lr",
        "loss.focal",
        "loss.bce",
        "loss.focal_alpha",
        "loss.focal_gamma",
    }
