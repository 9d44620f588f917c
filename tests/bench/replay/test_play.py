"""Simulated searches with known outcomes."""

import numpy as np
import pytest

from tests.bench.replay.made_up import recorded
from tune_sa2va.bench.replay.play import Play
from tune_sa2va.bench.replay.proposals import proposals
from tune_sa2va.bench.replay.rule import Rule


def test_without_noise_the_best_is_found_and_its_gain_is_what_it_is() -> None:
    known = recorded([-0.02, 0.03, 0.01], spread=0.0)
    for rule in (Rule(trials=4, grace_period=None), Rule(trials=4, folds=True), Rule(trials=4, epoch="last")):
        outcome = Play(known, rule, 3).run()
        assert outcome.gain == pytest.approx(0.03) and outcome.regret == pytest.approx(0.0)
        assert not outcome.is_recipe and not outcome.stood


def test_epochs_are_counted_for_every_adapter() -> None:
    known = recorded([-0.02, 0.03, 0.01], spread=0.0)
    whole = {"trials": 4, "grace_period": None}
    assert Play(known, Rule(**whole), 0).run().epochs == 4 * 6
    assert Play(known, Rule(**whole, folds=True), 0).run().epochs == 4 * 6 * 5
    assert Play(known, Rule(**whole, confirm=1), 0).run().epochs == 4 * 6 + 2 * 6
    assert Play(known, Rule(**whole, confirm=1, confirm_on_folds=True), 0).run().epochs == 4 * 6 + 2 * 6 * 5
    assert Play(known, Rule(trials=4), 0).run().epochs < 4 * 6


def test_hopeless_folds_save_epochs_and_not_the_winner() -> None:
    known = recorded([0.03] + [-0.05] * 10, spread=0.005)
    rule = Rule(trials=12, folds=True, grace_period=None, epoch="last")
    full, early = Play(known, rule, 1).run(), Play(known, Rule(**_fields(rule) | {"hopeless": 0.05}), 1).run()
    assert early.gain == full.gain > 0.02
    assert early.epochs < 0.5 * full.epochs


def test_the_recipe_stands_where_nothing_is_better_and_falls_where_something_is() -> None:
    rule = Rule(trials=12, folds=True, grace_period=None, epoch="last", level=0.02)
    equal, better = recorded([0.0] * 11, spread=0.02), recorded([0.03] * 11, spread=0.02)
    kept = [Play(equal, rule, seed).run() for seed in range(12)]
    assert sum(outcome.is_recipe for outcome in kept) > sum(
        Play(equal, Rule(**_fields(rule) | {"level": None}), seed).run().is_recipe for seed in range(12)
    )
    assert all(outcome.gain == 0.0 for outcome in kept if outcome.is_recipe)
    assert not any(Play(better, rule, seed).run().is_recipe for seed in range(12))


def test_choosing_and_judging_share_no_image() -> None:
    known = recorded([0.01] * 5, spread=0.02)
    for seed in range(20):
        play = Play(known, Rule(folds=True, parts="split"), seed)
        assert not set(play._locked) & set(play._images)
        assert len(play._locked) + len(play._images) == 40


def test_drawn_parts_do_not_take_from_each_other() -> None:
    """On split parts a configuration that looks good on the searched groups looks bad on the locked ones."""
    known = recorded([0.0], spread=0.05)
    gains = known.dice[1, 0, -1] - known.dice[0, 0, -1]

    def agreement(rule: Rule) -> float:
        plays = [Play(known, rule, seed) for seed in range(300)]
        chosen = [gains[play._images].mean() for play in plays]
        return float(np.corrcoef(chosen, [gains[play._locked].mean() for play in plays])[0, 1])

    assert agreement(Rule(folds=True, parts="split")) < -0.95
    assert abs(agreement(Rule(folds=True, parts="drawn"))) < 0.2


def test_a_search_is_the_same_each_time() -> None:
    known = recorded([0.01] * 20, spread=0.02)
    for rule in (Rule(trials=10), Rule(trials=8, sampler="tpe", folds=True)):
        assert Play(known, rule, 5).run() == Play(known, rule, 5).run()


def test_proposals_begin_with_the_recipe_and_repeat_nothing() -> None:
    known = recorded([0.0] * 9, spread=0.0)
    proposed = proposals(known, "tpe", seed=0)
    found = []
    while (configuration := proposed.next()) is not None:
        found.append(configuration)
        proposed.tell(configuration, 0.5, epochs=1, stopped=True)
    assert found[0] == 0 and sorted(found) == list(range(10))


def test_nearest_is_by_the_unit_cube() -> None:
    known = recorded([0.0] * 3, spread=0.0)
    assert known.places.min() >= 0.0 and known.places.max() <= 1.0
    assert np.linalg.norm(known.places[0] - known.places[1]) > 0.1


def _fields(rule: Rule) -> dict[str, object]:
    return {name: getattr(rule, name) for name in rule.__slots__}
