"""Which images a search uses (trains on, and scores after every epoch), and in how many folds.

With one split, trials train on `train` and are scored on `val`. With K folds, every image outside the locked test part
is in one fold, and its part is `train`: K - 1 adapters of a trial train on it, and the other one is scored on it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tune_sa2va.data.folds import group_folds
from tune_sa2va.data.sample import Sample

TELLING_DICE = 0.005
"""The difference in Dice that a search should be able to detect."""

PAIRED_SD = 0.021
"""Standard deviation over patients of the difference in Dice between the recipe and another configuration: the median
of 64 configurations on the 40 patients of coronary_cimat64 (results/replay). On hrf_fundus42 it is 0.006."""

_USUAL_FOLDS = 5


def cut_into_folds(samples: Sequence[Sample], folds: int, *, seed: int) -> tuple[Sample, ...]:
    """`samples` (with their parts set), each outside the test part assigned to a fold; unchanged if `folds` is 1.

    Raises:
        DataError: there are fewer groups outside the test part than folds.
    """
    if folds == 1:
        return tuple(samples)
    searched = searched_of(samples)
    found = iter(group_folds([sample.group for sample in searched], folds, seed=seed))
    return tuple(
        sample if sample.split == "test" else replace(sample, split="train", fold=next(found)) for sample in samples
    )


def fitting_folds(samples: Sequence[Sample]) -> int:
    """The number of folds for `samples` (with their parts set): 1 if one split is enough, else 5 (at most one a group).

    One split is enough if two standard errors of the paired difference between two configurations, over the groups of
    val, are at most TELLING_DICE. PAIRED_SD is the standard deviation of that difference over groups.
    """
    groups = len({sample.group for sample in samples if sample.split == "val"})
    if 2 * PAIRED_SD / math.sqrt(groups) <= TELLING_DICE:
        return 1
    return min(_USUAL_FOLDS, len({sample.group for sample in searched_of(samples)}))


def searched_of(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The images that are not locked in the test part."""
    return tuple(sample for sample in samples if sample.split != "test")


def scored_of(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The images that a trial is scored on after every epoch: those in folds, or else the val part."""
    in_folds = tuple(sample for sample in samples if sample.fold is not None)
    return in_folds or tuple(sample for sample in samples if sample.split == "val")


def scored_parts(samples: Sequence[Sample]) -> dict[str, int]:
    """Number of images in each part as a trial uses it; images in folds count as val. Empty parts are left out."""
    counts = Counter("val" if sample.fold is not None else str(sample.split) for sample in samples)
    return {part: counts[part] for part in ("train", "val", "test") if counts[part]}


def num_folds(samples: Sequence[Sample]) -> int:
    """How many folds the samples are cut into; 1 for one split into train and val."""
    return 1 + max((sample.fold for sample in samples if sample.fold is not None), default=0)
