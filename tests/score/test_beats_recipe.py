"""The recipe stands unless it is beaten."""

import numpy as np

from tune_sa2va.score.beats_recipe import beats_recipe

GROUPS = list(range(30))


def test_a_clear_gain_beats_it_and_a_loss_does_not() -> None:
    random = np.random.default_rng(0)
    recipe = random.uniform(0.6, 0.7, size=30)
    noise = random.normal(0.0, 0.02, size=30)
    assert beats_recipe(recipe + 0.02 + noise, recipe, GROUPS, level=0.05)
    assert not beats_recipe(recipe - 0.02 + noise, recipe, GROUPS, level=0.05)
    assert not beats_recipe(recipe, recipe, GROUPS, level=0.6)


def test_ranks_alone_do_not_beat_it() -> None:
    """Many small gains, and a few losses so large that the mean is lower."""
    difference = np.where(np.arange(30) < 3, -0.2, 0.01)
    assert difference.mean() < 0
    assert not beats_recipe(0.6 + difference, np.full(30, 0.6), GROUPS, level=0.05)


def test_the_best_of_many_equals_beats_it_more_often_than_the_level() -> None:
    """Why the level is chosen by replaying whole searches, and not by convention."""
    random = np.random.default_rng(2)
    beaten = 0
    for _ in range(200):
        scores = random.normal(0.65, 0.02, size=(12, 30))
        best = scores[scores.mean(axis=1).argmax()]
        beaten += beats_recipe(best, random.normal(0.65, 0.02, size=30), GROUPS, level=0.05)
    assert 0.15 < beaten / 200 < 0.6
