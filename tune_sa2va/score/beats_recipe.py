"""When a configuration beats the recipe: a test on paired scores of images that it was not trained on, over groups.

The best of many scores is partly luck, so the recipe stands unless it is beaten. Test and level were chosen by
`bench replay` on recorded runs; docs/how-it-works.md has the numbers. It needs arrays only, no Ray or torch.
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
    """Whether the configuration is better than the recipe on the same images, at significance level `level` in (0, 1).

    groups: the group of each image. The mean must be higher, too: by ranks alone, a configuration that is worse on
    average can be preferred.
    """
    differences = scores - recipe
    return bool(differences.mean() > 0.0) and chance_of_no_gain(differences, groups, test=test) < level
