"""Where a search reports to besides its results folder: the terminal, MLflow and Weights & Biases.

These settings are not part of `SearchSettings`: they do not change the search, and an address may hold a password.
"""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION

from tune_sa2va.errors import UserError
from tune_sa2va.train.records import EpochRecord

_MEASURES = tuple(field.name for field in dataclasses.fields(EpochRecord) if field.name not in ("epoch", "warning"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlets:
    """quiet: print only what goes wrong while trials run. mlflow: a tracking URI. wandb: a project. Empty: off.
    report: make report.html at the end."""

    quiet: bool = False
    mlflow: str = ""
    wandb: str = ""
    report: bool = True

    def check(self) -> None:
        """Checks that the needed packages are installed, before Ray starts.

        Raises:
            UserError: one is missing.
        """
        for package, is_asked in (("mlflow", self.mlflow), ("wandb", self.wandb)):
            if is_asked and importlib.util.find_spec(package) is None:
                raise UserError(
                    f"--{package} needs the package {package}, which is not installed. "
                    f"Install it: {sys.executable} -m pip install {package}"
                )

    def callbacks(self, search: str) -> list[tune.Callback]:
        """Ray's own callbacks for the servers; `search` names the experiment or group there."""
        found: list[tune.Callback] = []
        if self.mlflow:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            found.append(Server("mlflow", MLflowLoggerCallback(tracking_uri=self.mlflow, experiment_name=search)))
        if self.wandb:
            from ray.air.integrations.wandb import WandbLoggerCallback

            found.append(Server("wandb", WandbLoggerCallback(project=self.wandb, group=search)))
        return found


class Server(tune.Callback):
    """Wraps one of Ray's callbacks, and passes on only the numbers of each epoch: tracebacks may name image files.

    A server that fails during the search gets no further calls; the search goes on.
    """

    def __init__(self, flag: str, callback: tune.Callback) -> None:
        self._flag, self._callback = flag, callback
        self._is_up = True

    def setup(self, *args: Any, **info: Any) -> None:
        """Connects to the server before the first trial.

        Raises:
            UserError: the server refuses the connection.
        """
        try:
            self._callback.setup(*args, **info)
        except Exception as error:  # the server's package may raise anything
            raise UserError(
                f"--{self._flag}: {_line(error)}. Check the address and the login, or leave it out."
            ) from error

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has started in a lane."""
        self._tell(self._callback.on_trial_start, iteration, trials, trial, **info)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has finished an epoch. The step is the epoch, since Tune's own count restarts after a restore."""
        if "epoch" in result:
            numbers = {name: result[name] for name in _MEASURES} | {TRAINING_ITERATION: result["epoch"]}
            self._tell(self._callback.on_trial_result, iteration, trials, trial, numbers, **info)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has ended. A FAILED trial is complete for Tune, but reported as an error to the server."""
        failed = (trial.last_result or {}).get("failure")
        event = self._callback.on_trial_error if failed else self._callback.on_trial_complete
        self._tell(event, iteration, trials, trial, **info)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has lost its workers too often."""
        self._tell(self._callback.on_trial_error, iteration, trials, trial, **info)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """The search has ended."""
        self._tell(self._callback.on_experiment_end, trials, **info)

    def _tell(self, event: Callable[..., Any], *args: Any, **info: Any) -> None:
        if not self._is_up:
            return
        try:
            event(*args, **info)
        except Exception as error:  # an outage can raise anything
            self._is_up = False
            typer.echo(f"--{self._flag} is off from here, the search goes on without it: {_line(error)}", err=True)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
