"""When a trial's remaining folds can be left out: it is behind what it has to beat, beyond luck.

Early-stopped cross-validation (arXiv 2405.03389) with the test of Optuna's `WilcoxonPruner`: after each fold the trial
is compared with another trial on the images that both have predicted after the same epoch. Wilcoxon's signed-rank test
over groups: images of one patient are alike. Arrays only: no Ray, no torch. `bench replay` measures it.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from tune_sa2va.evaluate.one_sided import chance_of_no_gain


def is_hopeless(
    scores: Float[np.ndarray, " N"], to_beat: Float[np.ndarray, " N"], groups: Sequence[Hashable], *, level: float
) -> bool:
    """Whether the trial is worse on the images predicted so far, with a chance of error below `level`.

    scores, to_beat: of the same images after the same epoch. With fewer than six groups nothing is hopeless.
    """
    behind = to_beat - scores
    return bool(behind.mean() > 0.0) and chance_of_no_gain(behind, groups) < level
