"""A time budget ends a run; a resumed run gets the whole budget again."""

import pickle
import time

from tune_sa2va.schedule.time_budget import TimeBudget


def test_a_resumed_search_has_the_whole_budget_again() -> None:
    budget = TimeBudget(0.05)
    assert not budget.stop_all() and not budget("0000", {"epoch": 1})
    time.sleep(0.06)
    assert budget.stop_all()
    resumed = pickle.loads(pickle.dumps(budget))  # noqa: S301 - as Tune keeps it
    assert not resumed.stop_all() and not resumed("0000", {"epoch": 2})
    assert not resumed.stop_all()
    time.sleep(0.06)
    assert resumed.stop_all()


def test_a_budget_that_lanes_and_images_have_used_up_still_gives_a_result() -> None:
    budget = TimeBudget(0.01)
    assert not budget.stop_all()
    time.sleep(0.02)
    assert not budget.stop_all(), "a trial that ends without an epoch would never run again"
    budget("0000", {"epoch": 1})
    assert budget.stop_all()
