"""One-sided p-values over groups for a gain on the same images, for decisions inside a search.

What is reported about the locked part comes from `evaluate.paired`, which is two-sided and has a fixed level. A search
makes many decisions, at levels of its own: whether a configuration beats the recipe (`score.choice`), and whether a
trial's remaining folds are worth training (`schedule.hopeless_folds`).
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from tune_sa2va.evaluate.bootstrap import group_sums
from tune_sa2va.evaluate.paired import MIN_GROUPS, signed_rank

PairedTest = Literal["bootstrap", "signed_rank"]

RESAMPLES = 2_000


def chance_of_no_gain(
    differences: Float[np.ndarray, " N"], groups: Sequence[Hashable], *, test: PairedTest = "signed_rank"
) -> float:
    """One-sided p of the null hypothesis "the mean difference is not above 0", in (0, 1]; 1 with fewer than six groups.

    groups: of each difference's image.
    test: "bootstrap" is the share of resamples, of whole groups with replacement, whose mean over images is 0 or less
        (Efron and Tibshirani 1993, chapter 8). "signed_rank" is Wilcoxon's test of the groups' mean differences.
    """
    sums, sizes = group_sums(differences, groups)
    if len(sizes) < MIN_GROUPS:
        return 1.0
    if test == "signed_rank":
        return _signed_rank_above(sums / sizes)
    drawn = np.random.default_rng(0).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return float((1 + np.count_nonzero(means <= 0)) / (1 + RESAMPLES))


def _signed_rank_above(differences: Float[np.ndarray, " G"]) -> float:
    """One-sided p: half of the two-sided p if the ranks favour a gain, otherwise 1 minus that."""
    kept = differences[differences != 0.0]
    leans_up = float(np.sign(kept) @ rankdata(np.abs(kept))) > 0
    half = signed_rank(differences) / 2
    return half if leans_up else 1.0 - half
