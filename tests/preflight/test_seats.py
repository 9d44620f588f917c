"""How many seats a lane may have if the search chooses the number, and what is said of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.plan.test_clock import flags
from tune_sa2va.config import RECIPE
from tune_sa2va.errors import UserError
from tune_sa2va.preflight.flags import parse_trials_per_gpu
from tune_sa2va.preflight.lane_memory import fit_seats, lane_memory
from tune_sa2va.preflight.seats import FIRST_EPOCH, Seats, deciding_fields, fitting_seats, most_seats, seats_words
from tune_sa2va.preflight.settings import resolve_settings
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.expected_length import expect
from tune_sa2va.space.search_space import SearchSpace, check_space, load_space
from tune_sa2va.train.step_kind import KIND_FIELDS, step_kind

ONE_KIND = load_space("lora")


def space(**document: Any) -> SearchSpace:
    return check_space(Path("space.yaml"), document)


def most(searched: SearchSpace = ONE_KIND, *, trials: int = 32, lanes: int = 1, **changed: Any) -> Seats:
    def rounds(seats: int) -> float:
        return expect(trials=trials, epochs=15, lanes=lanes, reduction_factor=3, seats=seats).duration_in_epochs

    plain: dict[str, Any] = {"gpus": lanes, "gpus_per_trial": 1, "precision": "bf16", "rounds": rounds}
    return most_seats(searched, **(plain | changed))


@pytest.mark.parametrize(
    ("changed", "number", "said"),
    [
        ({}, 4, "a tenth sooner"),
        ({"precision": "fp8"}, 4, "a tenth sooner"),
        ({"precision": "fp8", "rounds": lambda seats: 100 / seats}, 8, "a tenth sooner"),
        ({"gpus": 0, "precision": "fp32"}, 1, "not measured on CPUs"),
        ({"gpus_per_trial": 2}, 1, "several GPUs per trial"),
        ({"lanes": 4}, 1, "a tenth sooner"),
        ({"lanes": 4, "precision": "fp8"}, 4, "a tenth sooner"),
        ({"trials": 7, "lanes": 2}, 1, "a tenth sooner"),
    ],
)
def test_the_rules(changed: dict[str, Any], number: int, said: str) -> None:
    found = most(**changed)
    assert found.number == number and said in found.reason


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("smoke", []),
        ("lora", []),
        ("wide", ["train.full_modules"]),
        ("deep", ["train.full_modules", "encoder.sam2", "data.strength"]),
    ],
)
def test_only_trials_of_one_kind_share_a_lane(name: str, fields: list[str]) -> None:
    searched = load_space(name)
    assert deciding_fields(searched) == fields
    found = most(searched)
    assert found.number == (1 if fields else 4) and all(field in found.reason for field in fields)


def test_a_field_decides_only_where_it_changes_the_step() -> None:
    choices = {"choice": [0, 0.5]}
    without = space(fixed={"data.augment": "flips"}, space={"lora.r": {"choice": [8, 64]}})
    assert deciding_fields(without) == []
    with_encoder = space(fixed={"encoder.vision": "mlp1"}, space={"data.strength": choices})
    assert deciding_fields(with_encoder) == ["data.strength"]
    always_strong = space(fixed={"encoder.vision": "mlp1", "data.strength": 0.5}, space={"lora.r": {"choice": [8, 64]}})
    assert deciding_fields(always_strong) == []
    batches = space(fixed={}, space={"train.micro_batch_size": {"int_uniform": [1, 4]}})
    assert deciding_fields(batches) == ["train.micro_batch_size"]


def test_the_neck_in_full_sits_alone() -> None:
    neck = space(fixed={"train.full_modules": ["neck"]}, space={"lora.r": {"choice": [8, 64]}})
    assert most(neck) == Seats(1, "trials that train the neck in full cannot share steps")


OTHERS = {
    "lora.target_modules": ["q_proj"], "train.full_modules": ["text_hidden_fcs"], "encoder.sam2": "late",
    "encoder.vision": "mlp1", "train.micro_batch_size": 2, "train.accumulation_steps": 2, "data.strength": 0.5,
}  # fmt: skip


def test_the_fields_that_decide_a_kind_are_all_known() -> None:
    """Every field is changed: those that change the kind, in a trial that runs an encoder, are in the list."""
    base = RECIPE.replace({"encoder.vision": "all"})
    others = {path: value for path, value in base.flat().items() if path != "data.augment"}  # not with an encoder
    changed = {path: OTHERS[path] if path in OTHERS else _other(value) for path, value in others.items()}
    deciding = {path for path, value in changed.items() if step_kind(base.replace({path: value})) != step_kind(base)}
    assert deciding == set(KIND_FIELDS)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else (value + 1.1) / 2


@pytest.fixture
def settings(tmp_path: Path) -> SearchSettings:
    asked = flags(tmp_path, trials_per_gpu="auto", gpus=2, lanes=None, trials=40, precision="fp8", name="x")
    found = resolve_settings(replace(asked, model="8b"), elsewhere=True)
    assert found.seats == 4
    return found.model_copy(update={"seats": 8})


def test_seats_are_halved_until_the_first_epoch_fits(settings: SearchSettings) -> None:
    needed = {8: 40.0, 4: 25.0, 2: 20.0}

    def fitting(free_gib: float) -> Seats:
        return fitting_seats(settings, free_gib, lambda seats: SimpleNamespace(card_gib=needed[seats]))  # type: ignore[arg-type, return-value]

    assert fitting(40.0 * FIRST_EPOCH) == Seats(8, settings.seats_reason)
    found = fitting(40.0)
    assert (
        found.number == 4 and found.reason == "8 might take 49.6 GiB while kernels are compiled, and 40.0 GiB are free"
    )
    assert fitting(24.0).number == 1


def test_the_memory_of_real_seats_decides(tmp_path: Path) -> None:
    asked = flags(tmp_path, trials_per_gpu="auto", gpus=2, lanes=None, trials=40)
    found = resolve_settings(asked, elsewhere=True)
    assert found.seats == 4 and found.probes_seats and found.lane.seats_probe == RECIPE.replace({"train.epochs": 3})
    found = found.model_copy(update={"gpus": 0})  # estimates of compiled kernels take ten times as long
    two, sizes = found.model_copy(update={"seats": 2}), [(64, 96)]
    _, needed = lane_memory(two, "fast", sizes, 0.0)
    tight = fit_seats(two, "fast", sizes, FIRST_EPOCH * needed.card_gib - 1e-6)
    assert tight.seats == 1 and "2 might take" in tight.seats_reason
    given = found.model_copy(update={"seats_reason": ""})
    assert fit_seats(given, "fast", sizes, 0.1) == given, "a number that was asked for stays"


def test_what_was_chosen_is_said(settings: SearchSettings) -> None:
    assert seats_words(settings) == (
        "At most 8 trials per GPU: no other number is expected to end the search a tenth sooner. Each lane measures at "
        "its start whether they are faster than one."
    )
    one = settings.model_copy(update={"seats": 1})
    assert seats_words(one) == "1 trial per GPU: no other number is expected to end the search a tenth sooner."
    assert not one.probes_seats and one.lane.seats_probe is None
    given = settings.model_copy(update={"seats_reason": ""})
    assert seats_words(given) == "" and given.lane.seats_probe is None and given.lane.seats == 8


def test_by_itself_a_search_on_cpus_takes_one(tmp_path: Path) -> None:
    found = resolve_settings(flags(tmp_path, trials_per_gpu="auto"))
    assert (found.seats, found.probes_seats) == (1, False)


def test_what_the_flag_takes() -> None:
    assert [parse_trials_per_gpu(given) for given in ("auto", "1", "64")] == [None, 1, 64]
    for given in ("", "0", "65", "-1", "2.0", "two", "Auto", "²", "9" * 5000):
        with pytest.raises(UserError, match=r"^--trials-per-gpu must be auto or a number from 1 to 64, got "):
            parse_trials_per_gpu(given)
