"""When a configuration beats the recipe: paired scores of images that it was not trained on, groups as the unit.

The best of many scores is partly luck, so the recipe stands unless it is beaten. Test and level were chosen by
`bench replay`, on recorded runs: docs/how-it-works.md has the numbers. Arrays only: no Ray, no torch.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from tune_sa2va.evaluate.one_sided import PairedTest, chance_of_no_gain


def beats_recipe(
    scores: Float[np.ndarray, " N"],
    recipe: Float[np.ndarray, " N"],
    groups: Sequence[Hashable],
    *,
    level: float,
    test: PairedTest = "signed_rank",
) -> bool:
    """Whether the configuration is better than the recipe on the same images, with `chance_of_no_gain` below `level`.

    Its mean must be higher, too: ranks alone can prefer one that is worse on average.
    """
    differences = scores - recipe
    return bool(differences.mean() > 0.0) and chance_of_no_gain(differences, groups, test=test) < level
