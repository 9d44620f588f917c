"""Searches that go on after a spent time budget, or from what another one found."""

import json
from collections.abc import Iterator

import pytest

from tests.drills.searches import Ground, finish
from tune_sa2va.data.split_file import read_parts
from tune_sa2va.propose.warm_start import read_inherited
from tune_sa2va.results.records import read_trials

pytestmark = pytest.mark.timeout(1800)

TRIALS, EPOCHS = 400, 2


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("continued")) as ground:
        yield ground


@pytest.mark.slow  # a search of three minutes and its resumption: seven minutes
def test_a_spent_time_budget_is_said_and_a_resumption_has_it_again(ground: Ground) -> None:
    """What is exported is what the tables call best, though a lane may have an epoch that they never heard of."""
    results = ground.results("budget")
    assert finish(ground.start("budget", "--time-budget", "3", "--confirm", "0", trials=TRIALS, epochs=EPOCHS)) == 0
    first = read_trials(results)
    assert 0 < len(first) < TRIALS, "the budget ends before the trials do"
    assert f"{TRIALS - len(first)} of {TRIALS} trials never started" in ground.said("budget")
    best = first["best_val_dice"].max()
    tuned = json.loads((results / "best_adapter" / "tune_sa2va.json").read_text())
    assert tuned["verification"]["recorded_val_dice"] == best
    assert finish(ground.resume("budget", "--trials", str(TRIALS + 1))) == 0, ground.said("budget")
    then = read_trials(results)
    assert len(then) > len(first)
    ended = first[first["state"].isin(["COMPLETE"])]["trial_id"]
    again = then.set_index("trial_id").loc[ended, "ended_at"]
    assert again.tolist() == first.set_index("trial_id").loc[ended, "ended_at"].tolist()


@pytest.mark.slow  # two searches: a minute
def test_a_warm_start_keeps_the_parts_and_repeats_no_trial(ground: Ground) -> None:
    assert finish(ground.start("cold", "--confirm", "0", trials=3, epochs=1)) == 0, ground.said("cold")
    earlier = str(ground.results("cold"))
    warm = ground.start("warm", "--confirm", "0", "--warm-start", earlier, trials=3, epochs=1, seed=7)
    assert finish(warm) == 0, ground.said("warm")
    assert read_parts(ground.results("warm")) == read_parts(ground.results("cold"))
    inherited = read_inherited(ground.results("warm"))
    assert inherited is not None and len(inherited.trials) == 3 and "on the same data" in ground.said("warm")
    found = [
        {(row["optimizer.lr"], row["lora.r"]) for row in read_trials(ground.results(name)).to_dict("records")}
        for name in ("cold", "warm")
    ]
    recipe = {
        (row["optimizer.lr"], row["lora.r"]) for row in read_trials(ground.results("warm")).to_dict("records")[:1]
    }
    assert found[0] & found[1] <= recipe, "only the recipe, for comparison, may run twice"
