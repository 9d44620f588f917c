"""One-sided p-values over groups: calibrated if there is no difference, and close to scipy's."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tune_sa2va.evaluate.one_sided import PairedTest, chance_of_no_gain


def test_the_signed_rank_p_is_scipys_on_both_sides() -> None:
    random = np.random.default_rng(0)
    for shift in (-0.02, 0.0, 0.02):
        differences = random.normal(shift, 0.02, size=15)
        wanted = wilcoxon(differences, alternative="greater", method="exact").pvalue
        found = chance_of_no_gain(differences, range(15))
        # Both one-sided p-values include the probability of the observed value.
        assert found == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("test", ["signed_rank", "bootstrap"])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_as_many_gains_are_seen_as_the_level_says_where_there_is_none(test: PairedTest, level: float) -> None:
    """Twenty groups of one to three similar images. With images as the unit, far too many p-values would be small."""
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), random.integers(1, 4, size=20))
    seen = 0
    for _ in range(400):
        of_group = random.normal(0.0, 0.02, size=20)
        differences = of_group[groups] + random.normal(0.0, 0.002, size=len(groups))
        seen += chance_of_no_gain(differences, groups.tolist(), test=test) < level
    assert seen / 400 == pytest.approx(level, abs=0.045)


@pytest.mark.parametrize("test", ["signed_rank", "bootstrap"])
def test_five_groups_say_nothing(test: PairedTest) -> None:
    assert chance_of_no_gain(np.full(50, 0.1), [0, 1, 2, 3, 4] * 10, test=test) == 1.0
    assert chance_of_no_gain(np.full(60, 0.1), [0, 1, 2, 3, 4, 5] * 10, test=test) < 0.05


def test_no_difference_is_no_gain() -> None:
    assert chance_of_no_gain(np.zeros(12), range(12)) >= 0.5
