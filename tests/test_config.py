"""Trial configurations: the recipe, round trips, and what is refused."""

import pytest
from pydantic import ValidationError

from tune_sa2va.config import RECIPE, DataSettings, TrialConfig


def test_the_recipe_is_what_the_user_runs_by_hand() -> None:
    assert (RECIPE.lora.r, RECIPE.lora.lora_alpha, RECIPE.optimizer.lr, RECIPE.train.epochs) == (64, 128, 1e-4, 15)
    assert RECIPE.lora.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    loss = RECIPE.loss
    assert (loss.dice, loss.focal, loss.bce, loss.focal_alpha, loss.focal_gamma) == (1.0, 1.0, 0.5, 0.8, 2.0)


def test_to_dict_and_back_gives_an_equal_record() -> None:
    config = RECIPE.replace({"lora.r": 8, "optimizer.lr": 3.3e-5, "train.full_modules": ["mask_decoder"]})
    assert config != RECIPE
    assert TrialConfig.model_validate(config.to_dict()) == config
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


def test_flat_names_every_field_once_and_replace_takes_them_back() -> None:
    config = RECIPE.replace({"loss.bce": 0.1, "lora.use_rslora": True})
    flat = config.flat()
    assert flat["loss.bce"] == 0.1 and flat["lora.r"] == 64
    assert len(flat) == sum(len(fields) for fields in config.to_dict().values())
    assert RECIPE.replace(flat) == config


def test_alpha_follows_the_rank() -> None:
    assert RECIPE.replace({"lora.r": 8}).lora.lora_alpha == 16


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("lora.r", 0),
        ("lora.r", 513),
        ("lora.r", 8.5),
        ("lora.alpha_over_r", 0),
        ("lora.alpha_over_r", 65),
        ("lora.dropout", 1.0),
        ("lora.target_modules", []),
        ("optimizer.lr", 0),
        ("optimizer.lr", float("nan")),
        ("optimizer.warmup_fraction", 1.0),
        ("loss.dice", -1),
        ("loss.focal_alpha", 1.0),
        ("train.epochs", 0),
        ("train.full_modules", ["language_model"]),
        ("train.seed", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(path: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        RECIPE.replace({path: value})
    assert ".".join(map(str, caught.value.errors()[0]["loc"])).startswith(path)


def test_a_loss_that_trains_no_mask_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing would train the masks"):
        RECIPE.replace({"loss.dice": 0, "loss.focal": 0, "loss.bce": 0})


def test_unknown_keys_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrialConfig.model_validate({"lora": {"rank": 8}})
    with pytest.raises(ValidationError, match="frozen"):
        RECIPE.lora.r = 8


def test_data_settings_are_consistent() -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        DataSettings(source="builtin", ratios=(0.7, 0.2, 0.2))
    with pytest.raises(ValidationError, match="once"):
        DataSettings(source="builtin", answer="It is here.")
