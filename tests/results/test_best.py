"""The epoch that a trial counts by."""

import math

from tune_sa2va.results.best import best_epoch


def _records(*dices: float, folds: int, left: int = 0) -> list[dict[str, float]]:
    """Records of epochs 1, 2, ...; the last one was given up with `left` folds left."""
    found = [{"epoch": n, "val_dice": d, "folds": folds, "folds_left": 0} for n, d in enumerate(dices, start=1)]
    found[-1] |= {"folds": folds - left, "folds_left": left}
    return found


def test_with_one_split_the_last_epoch_counts_and_with_folds_the_best() -> None:
    dices = (0.6, 0.8, 0.7)
    assert best_epoch(_records(*dices, folds=1)) == 3
    assert best_epoch(_records(*dices, folds=5)) == 2


def test_an_epoch_without_a_score_does_not_count() -> None:
    assert best_epoch(_records(0.6, 0.7, math.nan, folds=1)) == 2
    assert best_epoch([]) is None and best_epoch(_records(math.nan, folds=1)) is None


def test_an_epoch_that_was_given_up_does_not_count_and_one_whole_fold_is_no_single_split() -> None:
    assert best_epoch(_records(0.6, 0.9, folds=5, left=4)) == 1
    assert best_epoch(_records(0.6, 0.5, 0.9, folds=5, left=4)) == 1
    assert best_epoch(_records(0.9, folds=5, left=4)) is None
