"""When a trial's remaining folds can be left out: if it is significantly worse than the trial it has to beat.

This is early-stopped cross-validation (arXiv 2405.03389) with the test of Optuna's `WilcoxonPruner`. After each fold
the trial is compared with another one on the images that both have predicted after the same epoch. Wilcoxon's
signed-rank test is taken over groups, since images of one patient are alike. It needs arrays only, no Ray or torch, so
`bench replay` can measure it.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from tune_sa2va.evaluate.one_sided import chance_of_no_gain


def is_hopeless(
    scores: Float[np.ndarray, " N"], to_beat: Float[np.ndarray, " N"], groups: Sequence[Hashable], *, level: float
) -> bool:
    """Whether the trial is worse on the images predicted so far, at significance level `level` in (0, 1).

    scores, to_beat: scores of the same images after the same epoch; groups: the group of each image. With fewer than
    six groups the answer is always False.
    """
    behind = to_beat - scores
    return bool(behind.mean() > 0.0) and chance_of_no_gain(behind, groups) < level
