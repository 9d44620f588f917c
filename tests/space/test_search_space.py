"""Search spaces: what a file is read as, and that each mistake in one is named before anything runs."""

from pathlib import Path

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.errors import UserError
from tune_sa2va.space.search_space import SearchSpace, load_space

EVERY_KIND = """
fixed:
  loss.lm: 0.1
space:
  lora.r: {log_int_uniform: [1, 128]}
  train.accumulation_steps: {int_uniform: [1, 4]}
  lora.dropout: {uniform: [0, 0.1]}
  optimizer.lr: {log_uniform: [1e-5, 1e-3]}
  lora.use_rslora: {choice: [false, true]}
  train.full_modules: {choice: [[], [text_hidden_fcs, mask_decoder]]}
"""


def space_of(folder: Path, text: str) -> SearchSpace:
    file = folder / "my.yaml"
    file.write_text(text)
    return load_space(file)


def test_every_kind_becomes_its_distribution(tmp_path: Path) -> None:
    assert space_of(tmp_path, EVERY_KIND).distributions == {
        "lora.r": IntDistribution(1, 128, log=True),
        "train.accumulation_steps": IntDistribution(1, 4),
        "lora.dropout": FloatDistribution(0, 0.1),
        "optimizer.lr": FloatDistribution(1e-5, 1e-3, log=True),
        "lora.use_rslora": CategoricalDistribution([False, True]),
        "train.full_modules": CategoricalDistribution(["[]", '["text_hidden_fcs", "mask_decoder"]']),
    }


def test_sampled_parameters_become_the_same_config_as_by_hand(tmp_path: Path) -> None:
    config = space_of(tmp_path, EVERY_KIND).config(
        {
            "lora.r": 16,
            "train.accumulation_steps": 2,
            "lora.dropout": 0.05,
            "optimizer.lr": 2e-4,
            "lora.use_rslora": True,
            "train.full_modules": '["text_hidden_fcs", "mask_decoder"]',
        }
    )
    assert config == TrialConfig.model_validate(
        {
            "lora": {"r": 16, "dropout": 0.05, "use_rslora": True},
            "optimizer": {"lr": 2e-4},
            "loss": {"lm": 0.1},
            "train": {"accumulation_steps": 2, "full_modules": ("text_hidden_fcs", "mask_decoder")},
        }
    )


def test_whatever_a_sampler_draws_is_a_trial(tmp_path: Path) -> None:
    space = space_of(tmp_path, EVERY_KIND)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.config(study.ask(space.distributions).params) for _ in range(50)]
    assert len({config.lora.r for config in drawn}) > 10
    assert {config.train.full_modules for config in drawn} == {(), ("text_hidden_fcs", "mask_decoder")}


def test_the_recipe_is_the_first_point(tmp_path: Path) -> None:
    space = space_of(tmp_path, EVERY_KIND)
    study = optuna.create_study()
    study.enqueue_trial(space.recipe_point())
    first = space.config(study.ask(space.distributions).params)
    assert first == RECIPE.replace({"loss.lm": 0.1})


def test_a_fixed_field_at_the_recipes_value_is_no_difference(tmp_path: Path) -> None:
    space = space_of(tmp_path, "fixed: {lora.r: 64}\nspace: {loss.focal_gamma: {uniform: [0, 4]}}")
    assert space.config(space.recipe_point()) == RECIPE


def test_equal_spaces_give_equal_text_and_their_text_gives_them_back(tmp_path: Path) -> None:
    space = space_of(tmp_path, EVERY_KIND)
    text = yaml.safe_dump(space.to_dict())
    again = space_of(tmp_path, text)
    assert yaml.safe_dump(again.to_dict()) == text
    assert again.distributions == space.distributions and again.base == space.base


def test_possible_values_of_a_field(tmp_path: Path) -> None:
    space = space_of(tmp_path, EVERY_KIND)
    assert space.possible("train.full_modules") == ([], ["text_hidden_fcs", "mask_decoder"])
    assert space.possible("loss.lm") == (0.1,)
    with pytest.raises(ValueError, match="range"):
        space.possible("optimizer.lr")


def test_a_range_holds_both_of_its_ends_and_a_choice_its_values(tmp_path: Path) -> None:
    dimensions = space_of(tmp_path, EVERY_KIND).dimensions
    dropout, rslora = dimensions["lora.dropout"], dimensions["lora.use_rslora"]
    assert [dropout.holds(value) for value in (-0.01, 0.0, 0.05, 0.1, 0.11)] == [False, True, True, True, False]
    assert rslora.holds(True) and not rslora.holds(None)


def test_parameters_of_another_space_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"another space.*optimizer\.lr"):
        space_of(tmp_path, EVERY_KIND).config({"lora.r": 16})


@pytest.mark.parametrize("name", ["lora", "smoke", "wide"])
def test_a_shipped_space_is_found_by_name_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_space(name).source.name == f"{name}.yaml"


def test_a_space_that_is_not_there_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml.*lora, smoke, wide"):
        load_space(tmp_path / "nowhere.yaml")


LR = "space: {optimizer.lr: {log_uniform: [1e-5, 1e-3]}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("spaces: {}", "unknown key 'spaces'.*'space'", id="top-level key"),
        pytest.param("space: {lora.rank: {choice: [8]}}", "'lora.rank'.*'lora.r'", id="field"),
        pytest.param("space: {lr: {choice: [8]}}", "'lr' in 'space'.*'optimizer.lr'", id="field without its section"),
        pytest.param("fixed: {loss.dise: 1}\n" + LR, "'loss.dise' in 'fixed'.*'loss.dice'", id="fixed field"),
        pytest.param("space: {lora.r: {choises: [8]}}", "lora.r: unknown distribution 'choises'.*'choice'", id="kind"),
        pytest.param("space: {lora.r: {choice: [64], uniform: [1, 2]}}", "exactly one of", id="two kinds"),
        pytest.param("space: {lora.r: [8, 64]}", "exactly one of", id="no kind"),
        pytest.param("space: {lora.r: {choice: 64}}", "list of values, got 64", id="no list"),
        pytest.param("space: {lora.r: {choice: []}}", "at least one value", id="no choice"),
        pytest.param("space: {lora.r: {choice: [8, 64, 8]}}", "8 twice", id="a choice twice"),
        pytest.param(
            "space: {lora.r: {choice: [0, 64]}}", "lora.r cannot be 0: .*greater than or equal to 1", id="r 0"
        ),
        pytest.param("space: {lora.r: {choice: [64, 4096]}}", "cannot be 4096: .*equal to 512", id="r too large"),
        pytest.param("space: {lora.r: {int_uniform: [1, 4096]}}", "cannot be 4096", id="bound of r too large"),
        pytest.param("space: {lora.alpha_over_r: {uniform: [0, 4]}}", "alpha_over_r cannot be 0", id="alpha 0"),
        pytest.param("fixed: {lora.r: 4096}\n" + LR, "lora.r cannot be 4096", id="fixed r too large"),
        pytest.param(
            'space: {lora.r: {choice: ["64"]}}', "cannot be '64': it would be read as 64", id="text for number"
        ),
        pytest.param("space: {lora.use_rslora: {choice: [0, 1]}}", "would be read as False", id="number for yes or no"),
        pytest.param("space: {lora.r: {uniform: [1, 64]}}", "whole number", id="real range of a whole number"),
        pytest.param("space: {lora.use_rslora: {uniform: [0, 1]}}", "Use choice", id="range of a yes or no"),
        pytest.param("space: {train.full_modules: {uniform: [0, 1]}}", "Use choice", id="range of a list"),
        pytest.param("space: {train.full_modules: {choice: [[], [decoder]]}}", "cannot be .'decoder'.", id="module"),
        pytest.param("space: {lora.r: {int_uniform: [1.5, 64]}}", "whole numbers as bounds", id="half bound"),
        pytest.param("space: {loss.bce: {uniform: [0.1]}}", "two numbers", id="one bound"),
        pytest.param("space: {loss.bce: {uniform: [5, 0.1]}}", "lowest value first", id="bounds swapped"),
        pytest.param("space: {loss.bce: {uniform: [1, 1]}}", "use 'fixed'", id="one value"),
        pytest.param("space: {loss.bce: {log_uniform: [0, 5]}}", "start above 0", id="log of 0"),
        pytest.param("space: {loss.bce: {uniform: [0, .inf]}}", "finite", id="endless range"),
        pytest.param("space: {loss.bce: {choice: [.nan, 0.5]}}", "loss.bce cannot be nan", id="nan"),
        pytest.param("space: {optimizer.max_grad_norm: {choice: [1.0, .inf]}}", "finite", id="endless choice"),
        pytest.param("space: {train.epochs: {int_uniform: [1, 20]}}", "--epochs", id="epochs"),
        pytest.param("space: {lora.r: {choice: [8, 16]}}", "must include the recipe's 64", id="recipe not a choice"),
        pytest.param("space: {optimizer.lr: {uniform: [1e-3, 1e-2]}}", "recipe's 0.0001", id="recipe not in range"),
        pytest.param("fixed: {optimizer.lr: 1e-3}\n" + LR, "both fixed and searched", id="fixed and searched"),
        pytest.param(
            "fixed: {loss.dice: 0}\nspace: {loss.focal: {uniform: [0, 1]}, loss.bce: {uniform: [0, 1]}}",
            "all 0: nothing would train the masks",
            id="together",
        ),
        pytest.param(
            "fixed: {loss.dice: 0, loss.focal: 0, loss.bce: 0}\n" + LR, "do not go together", id="fixed together"
        ),
        pytest.param("space: {}", "'space' is empty", id="empty space"),
        pytest.param("", "no search space", id="empty file"),
        pytest.param("fixed: {lora.r: 8}", "'space' must be a map", id="no space"),
        pytest.param(LR + LR, "line 2: the key 'space' is given twice", id="double key"),
        pytest.param(
            "space: {lora.r: {choice: [64]}, lora.r: {choice: [8]}}", "'lora.r' is given twice", id="double field"
        ),
        pytest.param("space: {? [a, b] : 1}", "not valid YAML", id="a list as key"),
        pytest.param("a: &a [x]\nspace: *a", "aliases", id="alias"),
        pytest.param("space: {", "not valid YAML", id="broken"),
        pytest.param("space: !!python/object/apply:os.getcwd []", "not valid YAML", id="code"),
        pytest.param("[" * 20_000, "not valid YAML", id="deep"),
        pytest.param("#" * 70_000, "larger than", id="large"),
        pytest.param("space: \udcff", "not valid YAML", id="not UTF-8"),
    ],
)
def test_a_mistake_is_named(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=said) as caught:
        load_space(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
