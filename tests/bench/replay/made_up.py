"""Made-up recordings with known truth."""

import numpy as np

from tune_sa2va.bench.record.plan import sample_points
from tune_sa2va.bench.replay.recorded import Recorded, place
from tune_sa2va.space.search_space import load_space


def recorded(gains: list[float], *, spread: float, epochs: int = 6, groups: int = 40, seed: int = 0) -> Recorded:
    """A recording of configurations that are better than the recipe by `gains`, on images of `groups` groups; paired
    differences spread by `spread` from image to image. All rise by 0.01 an epoch."""
    random = np.random.default_rng(seed)
    space = load_space("wide")
    points = tuple(sample_points(space, 1 + len(gains), seed=0))
    base = random.uniform(0.6, 0.8, size=groups)
    means = base + np.array([0.0, *gains])[:, None]
    noisy = (
        means[:, None]
        + random.normal(0.0, spread, size=(len(points), 2, groups)) * (np.arange(len(points)) > 0)[:, None, None]
    )
    rise = 0.01 * (np.arange(epochs) - epochs + 1)
    return Recorded(
        name="made up",
        space=space,
        dice=noisy[:, :, None] + rise[:, None],
        fold=np.arange(groups) % 5,
        group=np.arange(groups),
        points=points,
        places=np.array([place(space, point) for point in points]),
    )
