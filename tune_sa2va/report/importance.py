"""Importance of hyperparameters for good trials: PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv 2304.10255).

Optuna's evaluator gives a number even for noise. So two things are added: how much the number varies with the sample of
trials (a bootstrap over trials), and how large it gets by chance (scores shuffled among the trials).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tune_sa2va.space.search_space import encode

MIN_TRIALS = 10
_RESAMPLES = 100
_GOOD_TRIALS = 5
"""Smallest number of trials above the quantile that Optuna accepts."""


@dataclass(frozen=True, slots=True)
class Importance:
    """A hyperparameter's share of the total importance, in [0, 1].

    low, high: 95% interval over resampled trials. chance: 95th percentile of the share over shuffled scores.
    """

    path: str
    share: float
    low: float
    high: float
    chance: float

    @property
    def beats_chance(self) -> bool:
        """Whether the share is larger than in 95% of the shuffles."""
        return self.share > self.chance


def at_equal_epochs(scored: pd.DataFrame, epochs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The trials that can be compared, and the number of epochs n at which they are.

    A trial that was stopped after its first epoch is not worse than one of fifteen epochs just because it trained for
    less long. So in the returned rows `best_val_dice` is the best of the first n epochs. n is the largest number of
    epochs that at least `MIN_TRIALS` trials ran; trials with fewer epochs are left out. With fewer than `MIN_TRIALS`
    trials the result is no rows and 0.
    """
    if len(scored) < MIN_TRIALS:
        return scored.iloc[:0], 0
    number = int(scored["epochs"].nlargest(MIN_TRIALS).iloc[-1])
    ran = scored[scored["epochs"] >= number]
    best = epochs[epochs["epoch"] <= number].groupby("trial_id")["val_dice"].max()
    return ran.assign(best_val_dice=ran["trial_id"].map(best)), number


def importances(scored: pd.DataFrame, space: dict[str, BaseDistribution], *, seed: int = 0) -> list[Importance]:
    """The importance of each field, largest first.

    Empty with fewer than `MIN_TRIALS` trials, fewer than two fields, or only one distinct score. scored: rows of trials
    with `best_val_dice`, as `at_equal_epochs` returns them. space: field path -> distribution. seed: of the resampling.
    """
    if len(scored) < MIN_TRIALS or len(space) < 2 or scored["best_val_dice"].nunique() < 2:
        return []
    points = [{path: encode(row[path]) for path in space} for row in scored.to_dict("records")]
    values = scored["best_val_dice"].tolist()
    random = np.random.default_rng(seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna would log a line for each study below
    found = _shares(points, values, space)
    resampled, shuffled = [], []
    for _ in range(_RESAMPLES):
        drawn = random.integers(len(values), size=len(values))
        resampled.append(_shares([points[i] for i in drawn], [values[i] for i in drawn], space))
        shuffled.append(_shares(points, random.permutation(values).tolist(), space))
    drawn_shares, chance_shares = pd.DataFrame(resampled), pd.DataFrame(shuffled)
    rows = [
        Importance(
            path=path,
            share=share,
            low=float(drawn_shares[path].quantile(0.025)),
            high=float(drawn_shares[path].quantile(0.975)),
            chance=float(chance_shares[path].quantile(0.95)),
        )
        for path, share in found.items()
    ]
    return sorted(rows, key=lambda row: -row.share)


class _DrawnTrials(optuna.Study):
    """A study of given trials. Adding them to a storage would copy each, which takes 4 ms per trial and resample."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        storage = InMemoryStorage()
        name = storage.get_study_name_from_id(storage.create_new_study([StudyDirection.MAXIMIZE]))
        super().__init__(name, storage)
        self._drawn = trials

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """All given trials, which are complete. The arguments have no effect."""
        return self._drawn


def _shares(
    points: Sequence[dict[str, Any]], values: Sequence[float], space: dict[str, BaseDistribution]
) -> dict[str, float]:
    # `create_trial` would give all trials the same id, by which the evaluator tells them apart.
    trials = [
        FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.COMPLETE,
            value=value,
            params=point,
            distributions=space,
            datetime_start=None,
            datetime_complete=None,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        for number, (point, value) in enumerate(zip(points, values, strict=True))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is experimental, and a resample may have too few good trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, _GOOD_TRIALS / len(trials))))
        raw = evaluator.evaluate(_DrawnTrials(trials))
    total = sum(raw.values())
    return {path: value / total if total > 0 else 1.0 / len(raw) for path, value in raw.items()}
