"""A field that decides the score is found and beats chance; noise and too few trials are recognized."""

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from tune_sa2va.report import importance
from tune_sa2va.report.importance import at_equal_epochs, importances

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


def test_a_trial_of_one_epoch_does_not_stand_beside_one_of_fifteen() -> None:
    lengths = [15, 15, 9, 9, 3, 3, 3, 3, 3, 3, 1, 1]
    scored = pd.DataFrame({"trial_id": [f"{i:04d}" for i in range(12)], "epochs": lengths, "best_val_dice": 0.9})
    epochs = pd.DataFrame(
        [(f"{i:04d}", e, 0.5 + e / 100) for i, n in enumerate(lengths) for e in range(1, n + 1)],
        columns=["trial_id", "epoch", "val_dice"],
    )
    beside, number = at_equal_epochs(scored, epochs)
    assert number == 3 and beside["trial_id"].tolist() == scored["trial_id"].tolist()[:10]
    assert beside["best_val_dice"].tolist() == pytest.approx([0.53] * 10), "epochs after the third do not count"
    few, none = at_equal_epochs(scored.iloc[:9], epochs)
    assert few.empty and none == 0
