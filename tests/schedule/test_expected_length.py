"""Simulated searches compared with ASHA's rule, in cases that can be worked out by hand."""

import pytest

from tune_sa2va.schedule.expected_length import SimulatedSearch, expect, simulate


def test_one_trial_runs_to_the_end() -> None:
    alone = expect(trials=1, epochs=15, lanes=1, reduction_factor=3)
    assert alone.epochs == alone.duration_in_epochs == 15
    assert alone.rungs == {1: 1, 3: 1, 9: 1, 15: 1}


def test_one_epoch_stops_nobody() -> None:
    short = expect(trials=7, epochs=1, lanes=2, reduction_factor=3)
    assert short.epochs == 7 and short.duration_in_epochs == 4 and short.epochs_range == (7, 7)


def test_about_a_third_goes_on_at_each_rung() -> None:
    large = expect(trials=300, epochs=15, lanes=4, reduction_factor=3)
    assert large.rungs[1] == 300
    # More than a strict third, since early trials pass more easily.
    assert 100 <= large.rungs[3] <= 120
    assert 33 <= large.rungs[9] <= 50
    assert large.epochs_range[0] <= large.epochs <= large.epochs_range[1]
    assert large.epochs / 4 <= large.duration_in_epochs <= large.epochs / 4 + 15


def test_the_first_result_of_a_rung_always_passes_and_the_recipe_is_spared() -> None:
    both = expect(trials=2, epochs=3, lanes=1, reduction_factor=3)
    # The recipe runs its 3 epochs. The second trial passes the rung if it is better, so half of the time.
    assert both.epochs == pytest.approx(3 + 0.5 * 3 + 0.5 * 1, abs=0.4)


def test_a_sampler_that_learns_lets_more_epochs_run() -> None:
    learns, random = (expect(trials=32, epochs=15, lanes=2, reduction_factor=3, learns=flag) for flag in (True, False))
    assert learns.epochs > 1.1 * random.epochs


def _in_seats(lengths: list[int], *, lanes: int = 1) -> SimulatedSearch:
    """A search in lanes of two seats whose trials run so many epochs."""
    return simulate(
        0, trials=len(lengths), epochs=4, lanes=lanes, seats=2, reduction_factor=3, lengths=lengths,
        epoch_s=10, between_epochs_s=1, turnaround_s=3, opening_s=5,
    )  # fmt: skip


def test_trials_that_sit_together_begin_their_epochs_together() -> None:
    # Rounds: 5 to 15, 18 to 28 with trial 2 in trial 1's seat, 29 to 39, and 40 to 50 with trial 0 by itself.
    assert sorted(_in_seats([4, 1, 2]).ends) == [39, 50]


def test_a_lane_seats_one_trial_after_the_other() -> None:
    assert sorted(_in_seats([1, 1, 1, 1]).ends) == [31, 31]


def test_the_first_trials_spread_over_the_lanes() -> None:
    assert sorted(_in_seats([2, 1], lanes=2).ends) == [0, 0, 15, 26]
    assert sorted(_in_seats([2], lanes=2).ends) == [0, 0, 0, 26]


def test_seats_are_counted_as_places_for_trials() -> None:
    short = expect(trials=7, epochs=1, lanes=2, seats=2, reduction_factor=3)
    assert short.epochs == 7 and short.duration_in_epochs == 2
