"""A field that decides is found and beats chance; noise and too few trials are said to be such."""

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from tune_sa2va.report import importance
from tune_sa2va.report.importance import importances

SPACE = {"optimizer.lr": FloatDistribution(0.0, 1.0), "lora.dropout": FloatDistribution(0.0, 1.0)}


def trials(amount: int) -> pd.DataFrame:
    random = np.random.default_rng(2)
    rows = pd.DataFrame(random.random((amount, 2)), columns=list(SPACE))
    return rows.assign(best_val_dice=1.0 - (rows["optimizer.lr"] - 0.7).abs())


def test_the_field_that_decides_comes_first_and_beats_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "_RESAMPLES", 20)
    first, second = importances(trials(40), SPACE)
    assert first.path == "optimizer.lr" and first.share > 0.8 and first.beats_chance
    assert first.low <= first.share <= 1.0 and not second.beats_chance
    assert first.share + second.share == pytest.approx(1.0)


def test_too_few_trials_or_fields_say_nothing() -> None:
    assert importances(trials(9), SPACE) == []
    assert importances(trials(40), {"optimizer.lr": SPACE["optimizer.lr"]}) == []
