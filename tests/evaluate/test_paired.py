"""The verdict of a comparison: how often it is wrong without a difference, and that it finds a real one."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tune_sa2va.evaluate.paired import MIN_GROUPS, Word, compare, sentence, signed_rank, words

VALUES = np.random.default_rng(1).beta(8, 3, size=21)
GROUPS = list(range(21))


def draws(patients: int, frames: int, correlation: float, *, number: int = 1_000) -> tuple[np.ndarray, list[int]]:
    """Draws of differences between two equally good models, and the images' patients."""
    random = np.random.default_rng(7)
    of_patient = random.normal(size=(number, patients, 1)) * math.sqrt(correlation)
    of_frame = random.normal(size=(number, patients, frames)) * math.sqrt(1 - correlation)
    return (of_patient + of_frame).reshape(number, -1), np.repeat(np.arange(patients), frames).tolist()


@pytest.mark.parametrize(
    ("patients", "frames", "correlation"), [(6, 1, 0.0), (10, 1, 0.0), (4, 10, 0.5), (6, 10, 0.5), (10, 4, 0.5)]
)
def test_where_nothing_differs_a_word_is_said_in_at_most_6_of_100_draws(
    patients: int, frames: int, correlation: float
) -> None:
    said = words(*draws(patients, frames, correlation))
    assert sum(word in (Word.BETTER, Word.WORSE) for word in said) <= 0.06 * len(said)
    assert (patients < MIN_GROUPS) == (Word.TOO_FEW in said)


def test_without_any_difference_it_is_a_tie() -> None:
    outcome = compare(VALUES.tolist(), VALUES.tolist(), GROUPS)
    assert (outcome.word, outcome.p_value, outcome.difference.mean) == (Word.TIE, 1.0, 0.0)
    assert not outcome.is_disputed


def test_a_difference_of_its_own_size_is_found_in_most_draws() -> None:
    differences, groups = draws(12, 2, 0.5)
    said = words(differences + 1.2, groups)
    assert said.count(Word.BETTER) > 0.9 * len(said) and Word.WORSE not in said


def test_a_word_of_one_comparison_is_that_of_many() -> None:
    differences, groups = draws(10, 2, 0.5, number=20)
    alone = [compare(row.tolist(), [0.0] * len(row), groups).word for row in differences + 0.5]
    assert alone == words(differences + 0.5, groups, resamples=10_000)
    assert Word.BETTER in alone and Word.TIE in alone


def test_the_direction_and_what_is_better() -> None:
    shifted = VALUES + 0.01
    assert compare(shifted.tolist(), VALUES.tolist(), GROUPS).word is Word.BETTER
    assert compare(VALUES.tolist(), shifted.tolist(), GROUPS).word is Word.WORSE
    lower_is_better = compare(VALUES.tolist(), shifted.tolist(), GROUPS, higher_is_better=False)
    assert lower_is_better.word is Word.BETTER and lower_is_better.difference.mean == pytest.approx(-0.01)


def test_five_patients_are_too_few_however_large_the_difference() -> None:
    better, worse = [0.9] * 50, [0.1, 0.2] * 25
    assert compare(better, worse, [i % 5 for i in range(50)]).word is Word.TOO_FEW
    assert compare(better, worse, [i % 6 for i in range(50)]).word is Word.BETTER


def test_where_interval_and_test_disagree_it_is_a_tie_that_is_disputed() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.25]  # p = 0.11 by ranks
    outcome = compare(values, [0.0] * 7, range(7))
    assert outcome.difference.low > 0 and outcome.word is Word.TIE and outcome.is_disputed


def test_pairs_drop_out_together() -> None:
    outcome = compare([0.9, math.nan, 0.8, 0.7], [0.8, 0.1, math.nan, 0.6], "abcd")
    assert outcome.difference.mean == pytest.approx(0.1)
    assert (outcome.difference.num_values, outcome.difference.num_groups, outcome.difference.num_skipped) == (2, 2, 2)
    with pytest.raises(ValueError, match="got 2 and 1"):
        compare([1.0, 2.0], [1.0], "ab")


@pytest.mark.parametrize("number", [6, 9, 21, 60])
def test_the_signed_rank_test_is_scipys(number: int) -> None:
    differences = np.random.default_rng(number).normal(0.3, 1, size=number)
    assert signed_rank(differences) == pytest.approx(wilcoxon(differences).pvalue, abs=1e-3 if number > 50 else 1e-12)


def test_the_signed_rank_test_by_hand_with_ties_and_zeros() -> None:
    assert signed_rank(np.array([1.0, 1.0, 2.0, 0.0])) == 2 / 2**3  # three signs, all above 0
    assert signed_rank(np.array([1.0, -1.0, 2.0])) == 0.75  # 3 of 8 rank sums reach 4.5, doubled
    assert signed_rank(np.zeros(5)) == 1.0 and math.isnan(signed_rank(np.array([])))


def test_the_sentence_names_what_is_beside_and_how_many_there_are() -> None:
    better = compare((VALUES + 0.1).tolist(), VALUES.tolist(), GROUPS)
    tie = compare(VALUES.tolist(), VALUES.tolist(), GROUPS)
    assert sentence({"the recipe": better, "the untuned base": tie}) == (
        "The winner is better than the recipe and ties with the untuned base by Dice (paired, 21 patients or other "
        "groups)."
    )
    few = compare([0.9, 0.8], [0.1, 0.2], "ab")
    assert sentence({"the recipe": few, "the untuned base": few}) == (
        "Too few patients to say whether the winner is better than the recipe or the untuned base: 2, and it takes 6."
    )


def test_a_rare_text_weighs_as_much_as_a_frequent_one() -> None:
    gains = [0.1] * 9 + [-0.3]
    plain = compare(gains, [0.0] * 10, range(10))
    by_text = compare(gains, [0.0] * 10, range(10), ["vein"] * 9 + ["artery"])
    assert plain.difference.mean == pytest.approx(0.06)
    assert by_text.difference.mean == pytest.approx(-0.1)
    assert compare(gains, [0.0] * 10, range(10), ["vein"] * 10) == plain
