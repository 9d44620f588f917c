"""How likely a gain on the same images is luck: one-sided p-values over groups, for decisions inside a search.

What is said to people about the locked part is `evaluate.paired`, two-sided and at a fixed level. A search decides
often and by its own levels: who beats the recipe (`score.choice`), whose folds are not worth training
(`schedule.hopeless_folds`).
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
    """One-sided p of "the mean difference is not above 0", in (0, 1]; 1 with fewer than six groups.

    bootstrap: the share of resamples whose mean over images is 0 or less, whole groups drawn with replacement (Efron
    and Tibshirani 1993, chapter 8). signed_rank: Wilcoxon's test of the groups' mean differences.
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
    """Half of the two-sided p on the side where the ranks are."""
    kept = differences[differences != 0.0]
    leans_up = float(np.sign(kept) @ rankdata(np.abs(kept))) > 0
    half = signed_rank(differences) / 2
    return half if leans_up else 1.0 - half
