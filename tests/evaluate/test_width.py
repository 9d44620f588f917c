"""Errors by vessel width: a missed thin branch is not hidden by a wide one that is found."""

import math

import numpy as np

from tune_sa2va.evaluate.width import _width, errors_by_width, total


def vessels() -> np.ndarray:
    """A vessel 3 pixels wide and one 20 pixels wide."""
    truth = np.zeros((60, 100), dtype=bool)
    truth[5:8, 10:90] = True
    truth[20:40, 10:90] = True
    return truth


def test_widths_of_straight_vessels() -> None:
    found = _width(vessels())
    assert np.median(found[5:8, 20:80]) == 3
    assert abs(np.median(found[20:40, 40:60]) - 20) <= 1
    line = np.zeros((9, 9), dtype=bool)
    line[4] = True
    assert set(_width(line)[4]) == {1.0}


def test_a_missed_branch_and_an_invented_one_are_told_apart_by_width() -> None:
    truth = vessels()
    mask = truth.copy()
    mask[5:8] = False
    mask[50:53, 10:90] = True
    thin, *_, wide = errors_by_width(mask, truth)
    assert thin.missed_share == 1.0 and thin.invented_share > 0.95  # the rest are at corners of the wide one
    assert wide.missed_share == wide.invented_share == 0.0 and wide.true > 1000


def test_nothing_there_is_no_share_and_images_add_up() -> None:
    truth = vessels()
    once = errors_by_width(np.zeros_like(truth), truth)
    assert all(errors.predicted == 0 and math.isnan(errors.invented_share) for errors in once)
    both = total([once, errors_by_width(truth, truth)])
    assert both[0].true == 2 * once[0].true and both[0].missed_share == 0.5
    assert math.isnan(errors_by_width(truth, np.zeros_like(truth))[0].missed_share)
