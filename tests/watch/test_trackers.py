"""External servers get only numbers, and a search survives their failures."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from tests.watch.runs import an_epoch
from tune_sa2va.errors import UserError
from tune_sa2va.watch.trackers import Outlets, Server


class Recorded(tune.Callback):
    """A server's callback that records its calls; `down` makes it raise."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.down = False

    def setup(self, *args: Any, **info: Any) -> None:
        if self.down:
            raise ConnectionError("no route to host\nmore")

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if self.down:
            raise ConnectionError("no route to host")
        self.told.append(result)

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        self.ends.append("complete")

    def on_trial_error(self, *args: Any, **info: Any) -> None:
        self.ends.append("error")


def test_only_the_numbers_of_an_epoch_go_out() -> None:
    inner = Recorded()
    server, trial = Server("mlflow", inner), SimpleNamespace(last_result={"failure": "x"})
    server.on_trial_result(1, [], trial, an_epoch(4, 0.6) | {"traceback": "/data/Mr Wang.png", "training_iteration": 1})
    server.on_trial_result(2, [], trial, {"failure": "x", "traceback": "/data/Mr Wang.png", "val_dice": 0.0})
    server.on_trial_complete(3, [], trial)
    (result,) = inner.told
    assert result["training_iteration"] == 4 and result["val_dice"] == 0.6
    assert all(isinstance(value, int | float) for value in result.values())
    assert inner.ends == ["error"]


def test_an_outage_is_said_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    inner = Recorded()
    server, trial = Server("wandb", inner), SimpleNamespace(last_result={})
    inner.down = True
    for _ in range(3):
        server.on_trial_result(1, [], trial, an_epoch(1, 0.6))
    said = capsys.readouterr().err
    assert said == "--wandb is off from here, the search goes on without it: no route to host\n"


def test_a_server_that_never_answered_is_wrong_use() -> None:
    inner = Recorded()
    inner.down = True
    with pytest.raises(UserError, match=r"^--mlflow: no route to host\. Check the address"):
        Server("mlflow", inner).setup()


def test_off_by_default() -> None:
    Outlets().check()
    assert Outlets().callbacks("demo") == []


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"--{package} needs the package {package}.*-m pip install {package}$"):
        Outlets(**{package: "somewhere"}).check()
