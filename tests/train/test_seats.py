"""Trials that sit together compute what each computes alone, fail alone, and come and go between epochs.

Sums over rows are rounded differently when there are more rows, and AdamW turns the noise of a vanishing gradient into
a whole step. So weights are compared over a base in fp64, where what differs is a fault and no noise.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.train.bench import lane_settings
from tests.train.test_trial import numbers
from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.data.split_file import read_names
from tune_sa2va.errors import NonFiniteError, TrialFailure
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

SEATS = 3
FEATURES = ("image_tokens", "embed", "high_res_1", "high_res_0")


class Wide:
    """Images with features in fp64."""

    def __init__(self, images: Any) -> None:
        self._images, self.texts = images, getattr(images, "texts", ())

    def __len__(self) -> int:
        return len(self._images)

    def on_cpu(self, index: int) -> Example:
        example = self._images.on_cpu(index)
        wide = {name: getattr(example.features, name).double() for name in FEATURES}
        return dataclasses.replace(example, features=dataclasses.replace(example.features, **wide))

    def in_epoch(self, *args: Any, **options: Any) -> "Wide":
        return Wide(self._images.in_epoch(*args, **options))

    def with_pixels(self, **_: Any) -> Any:
        raise AssertionError("these trials run no encoder")


@dataclass(frozen=True)
class Lane:
    """An engine and its images."""

    engine: Engine
    train: Wide
    val: Wide

    def trial(self, config: TrialConfig, resume_from: Path | None = None) -> Trial:
        return Trial(self.engine, self.train, self.val, config, resume_from=resume_from)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A base in fp64, and a few images."""
    folder = tmp_path_factory.mktemp("seats")
    bench = Workbench.open(lane_settings(folder), read_names(folder), rank=0, world_size=1)
    bench.model.double()
    return bench


def lane(bench: Workbench, seats: int) -> Lane:
    engine = Engine(bench.model, max_rank=8, any_dropout=True, seats=seats)
    return Lane(engine, Wide(bench.train.only([0, 1])), Wide(bench.val.only([0])))


@pytest.fixture(scope="module")
def single(wide: Workbench) -> Lane:
    return lane(wide, 1)


@pytest.fixture
def seated(wide: Workbench) -> Iterator[Lane]:
    made = lane(wide, SEATS)
    yield made
    assert made.engine.has_seat(config(lora__target_modules=["q_proj"])), "every trial was closed"


def config(**values: object) -> TrialConfig:
    paths = {name.replace("__", "."): value for name, value in values.items()}
    return RECIPE.replace({"train.epochs": 2, "lora.r": 4, "optimizer.lr": 1e-3, **paths})


AVERAGED = config(lora__dropout=0.2, train__ema=0.9, optimizer__warmup_fraction=0.3)
THIN = config(
    train__epochs=1,
    lora__r=8,
    loss__cldice=0.3,
    optimizer__weight_decay=0.3,
    optimizer__max_grad_norm=0.05,
    train__seed=3,
)
ANSWER = config(
    train__epochs=1, lora__r=2, loss__lm=0.5, loss__focal_gamma=0.5, loss__focal_alpha=0.6, lora__alpha_over_r=4
)
SHORT = config(train__epochs=1, loss__focal_tversky=0.5, loss__bce=0, lora__use_rslora=True, lora__dropout=0.4)


def weights(trial: Trial) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trial.adapters.parameters.items()}


def alone(single: Lane, trial_config: TrialConfig) -> tuple[list[EpochRecord], dict[str, Tensor]]:
    trial = single.trial(trial_config)
    try:
        return list(trial.epochs()), weights(trial)
    finally:
        trial.close()


def check_close(record: EpochRecord, other: EpochRecord, *, rel: float) -> None:
    found, wanted = numbers(record), numbers(other)
    assert found.pop("warning") == wanted.pop("warning")
    assert found == pytest.approx(wanted, rel=rel, abs=1e-9)


def check_equal(records: Sequence[EpochRecord | TrialFailure], found: dict[str, Tensor], trial: Any) -> None:
    """Compares a trial's records and weights with those of `alone`."""
    wanted, values = trial
    for record, other in zip(records, wanted, strict=True):
        assert isinstance(record, EpochRecord)
        check_close(record, other, rel=1e-6)
    assert found.keys() == values.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, values[name], rtol=0, atol=1e-6, msg=name)


def test_each_is_what_it_would_be_alone_whoever_comes_and_goes(single: Lane, seated: Lane, tmp_path: Path) -> None:
    """The mix differs in every setting that is a number. One fails, one ends, others take their seats, one resumes."""
    wanted = {id(each): alone(single, each) for each in (AVERAGED, THIN, ANSWER, SHORT)}
    averaged, short, failing = (seated.trial(each) for each in (AVERAGED, SHORT, config(lora__dropout=0.1)))
    initial = weights(failing)
    with spoilt(failing):
        first, whole, failure = run_epoch([averaged, short, failing])
    assert isinstance(failure, NonFiniteError)
    assert isinstance(first, EpochRecord) and first.seated == 3
    assert all(torch.equal(value, initial[name]) for name, value in weights(failing).items())
    check_equal([whole], weights(short), wanted[id(SHORT)])
    averaged.save(tmp_path / "averaged")
    short.close()
    failing.close()

    thin, answer = seated.trial(THIN), seated.trial(ANSWER)
    assert (averaged.seat, thin.seat, answer.seat) == (0, 1, 2), "they took the places of those that left"
    assert not seated.engine.has_seat(SHORT)
    answered, second, thinned = run_epoch([answer, averaged, thin])
    check_equal([first, second], weights(averaged), wanted[id(AVERAGED)])
    check_equal([answered], weights(answer), wanted[id(ANSWER)])
    check_equal([thinned], weights(thin), wanted[id(THIN)])
    thin.close()

    again = seated.trial(AVERAGED, tmp_path / "averaged")
    assert again.seat == 1
    waiting = [tensor.clone() for tensor in answer.stepper.state(answer.seat)]
    (resumed,) = run_epoch([again])
    check_equal([first, resumed], weights(again), wanted[id(AVERAGED)])
    assert all(map(torch.equal, answer.stepper.state(answer.seat), waiting)), "a seat that waits keeps its state"
    for trial in (again, averaged, answer):
        trial.close()
    back = single.trial(AVERAGED, tmp_path / "averaged")
    check_equal([first, *back.epochs()], weights(back), wanted[id(AVERAGED)])
    back.close()


@contextmanager
def spoilt(trial: Trial) -> Iterator[None]:
    """Inside, the trial's gradients are not finite."""
    stepper = trial.stepper
    update, gradients = stepper.update, stepper.store.of(stepper.optimizer.gradients, trial.seat)

    def spoil(lr: float | Tensor) -> None:
        gradients[7] = torch.nan
        update(lr)

    stepper.update = spoil  # type: ignore[method-assign]
    try:
        yield
    finally:
        stepper.update = update  # type: ignore[method-assign]


def test_modules_in_full_have_weights_by_seat(wide: Workbench) -> None:
    """In fp32, as such modules are, and at a rate at which the noise of sums stays noise."""
    wide.model.float()
    try:
        full = {"train__full_modules": ["mask_decoder", "text_hidden_fcs"], "train__epochs": 1, "optimizer__lr": 1e-6}
        configs = [config(**full), config(**full, lora__r=2, train__seed=1, optimizer__weight_decay=0.5)]
        engines = [Engine(wide.model, seats=seats, max_rank=4) for seats in (1, 2)]
        train, val = wide.train.only([0, 1]), wide.val.only([0])
        wanted = []
        for each in configs:
            trial = Trial(engines[0], train, val, each)
            wanted += list(trial.epochs())
            trial.close()
        before = {name: tensor.clone() for name, tensor in wide.model.state_dict().items()}
        trials = [Trial(engines[1], train, val, each) for each in configs]
        for record, other in zip(run_epoch(trials), wanted, strict=True):
            assert isinstance(record, EpochRecord)
            check_close(record, other, rel=1e-5)
        for trial in trials:
            trial.close()
        after = wide.model.state_dict()
        assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    finally:
        wide.model.double()


def test_who_sits_together(seated: Lane) -> None:
    """Trials with the same modules and steps of as many images; a rank above the largest needs other storage."""
    engine, trial = seated.engine, seated.trial(AVERAGED)
    assert all(engine.has_seat(each) for each in (THIN, ANSWER, SHORT, config(train__epochs=9, data__augment="flips")))
    for other in (
        {"lora__target_modules": ["q_proj"]},
        {"train__full_modules": ["text_hidden_fcs"]},
        {"train__micro_batch_size": 2},
        {"train__accumulation_steps": 2},
        {"encoder__sam2": "late"},
        {"encoder__vision": "mlp1"},
        {"lora__r": 16},
    ):
        assert not engine.has_seat(config(**other)), other
    trial.close()
    assert engine.has_seat(config(lora__target_modules=["q_proj"]))
