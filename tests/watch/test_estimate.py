"""The estimated end of a search: exact if nothing is random, and close on the records of a real search."""

import dataclasses
import math
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.watch.scene import NOON, a_trial, a_view, seconds
from tune_sa2va.results.records import TrialState, read_epochs, read_trials
from tune_sa2va.watch.estimate import estimate_end, final_s
from tune_sa2va.watch.view import Plan, View

CORONARY = Path(__file__).parents[2] / "results" / "coronary"
END_S = (3 * (10 + 10) + 10) * 0.1
"""Three rows predict ten val and ten test images, the check predicts the val images; validation takes 1 s for ten."""


def test_nothing_is_said_before_the_first_epoch() -> None:
    assert estimate_end(a_view((a_trial(0, "RUNNING", []), [])), NOON) is None


def test_the_recipe_alone_runs_to_its_end() -> None:
    view = a_view((a_trial(0, "RUNNING", [0.5, 0.6]), [0.5, 0.6]), trials=1, epochs=9)
    estimate = estimate_end(view, NOON + seconds(24))
    assert estimate is not None and estimate.low == estimate.high
    assert (estimate.middle - NOON).total_seconds() == pytest.approx(9 * 10 + END_S)


def test_a_lane_that_took_long_to_open_makes_the_end_long() -> None:
    trial = a_trial(0, "RUNNING", [0.5])
    view = a_view((trial, [0.5]), trials=1)
    late = tuple(dataclasses.replace(epoch, ended_at=epoch.ended_at + seconds(60)) for epoch in view.epochs)
    assert final_s(View(view.plan, view.trials, late)) == pytest.approx(2 * 60 + END_S)


def test_refits_are_part_of_the_end() -> None:
    view = a_view((a_trial(0, "RUNNING", [0.5]), [0.5]), trials=1, epochs=9)
    plan = dataclasses.replace(view.plan, refits=True)
    trained_s = view.epochs[0].seconds - view.epochs[0].val_seconds
    on_all = 30 / 20  # images outside the test part, by those of an epoch
    assert final_s(View(plan, view.trials, view.epochs)) == pytest.approx(2 * 9 * on_all * trained_s + END_S)


def test_the_time_budget_ends_trials_and_not_the_scoring() -> None:
    view = a_view((a_trial(0, "RUNNING", [0.5]), [0.5]), trials=1, epochs=100)
    estimate = estimate_end(view, NOON + seconds(10), budget_ends_at=NOON + seconds(60))
    assert estimate is not None
    assert (estimate.high - NOON).total_seconds() == pytest.approx(60 + END_S)


def test_an_epoch_that_compiled_kernels_counts_no_more_when_there_are_others() -> None:
    def left_s(dices: list[float]) -> float:
        view = a_view((a_trial(0, "RUNNING", dices), dices), trials=1, epochs=9)
        compiled = tuple(dataclasses.replace(epoch, seconds=10 + 90 * (epoch.epoch == 1)) for epoch in view.epochs)
        estimate = estimate_end(View(view.plan, view.trials, compiled), view.epochs[-1].ended_at)
        assert estimate is not None
        return (estimate.middle - view.epochs[-1].ended_at).total_seconds() - END_S

    assert left_s([0.5]) == pytest.approx(8 * 100)
    assert left_s([0.5, 0.6]) == pytest.approx(7 * 10)


def test_more_lanes_end_sooner_and_more_trials_later() -> None:
    def middle(trials: int, lanes: int) -> datetime:
        dices = [0.5, 0.6]
        view = a_view((a_trial(0, "RUNNING", dices), dices), trials=trials, lanes=lanes)
        estimate = estimate_end(view, NOON + seconds(20))
        assert estimate is not None
        return estimate.middle

    assert middle(40, 4) < middle(40, 2) < middle(80, 2)


def _as_of(view: View, moment: datetime) -> View:
    """The records as they were at an earlier moment."""
    done = tuple(epoch for epoch in view.epochs if epoch.ended_at <= moment)
    trials = []
    for trial in (t for t in view.trials if t.started_at <= moment):
        if trial.ended_at is None or trial.ended_at > moment:
            own = [epoch for epoch in done if epoch.trial_id == trial.trial_id]
            best = max((epoch.val_dice for epoch in own), default=math.nan)
            trial = dataclasses.replace(
                trial, state=TrialState.RUNNING, epochs=len(own), best_val_dice=best, ended_at=None
            )
        trials.append(trial)
    return View(view.plan, tuple(trials), done)


@pytest.mark.parametrize(("share", "largest_error"), [(0.5, 0.30), (0.75, 0.25), (0.95, 0.15)])
def test_replayed_records_of_a_real_search_end_about_when_it_ended(share: float, largest_error: float) -> None:
    """The error is a share of the whole training time. Scoring is left out, because no table records its end.

    At the half the machine was about to become twice as slow (7 s an epoch, then 12), which no estimate can know.
    """
    if not (CORONARY / "epochs.parquet").is_file():
        pytest.skip("the tables of results/coronary are not here")
    tables = read_trials(CORONARY, None), read_epochs(CORONARY, None)
    view = View.of(Plan("coronary", trials=12, epochs=6, lanes=2, images={"val": 10, "test": 9}), *tables)
    start, end = view.started_at, view.last_event_at
    assert start is not None and end is not None
    moment = start + share * (end - start)
    then = _as_of(view, moment)
    estimate = estimate_end(then, moment)
    assert estimate is not None
    error = estimate.middle - timedelta(seconds=final_s(then)) - end
    assert abs(error) <= largest_error * (end - start), error
