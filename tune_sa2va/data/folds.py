"""Cross-validation folds of whole groups: each image is predicted by an adapter that saw no frame of its patient.

Groups are assigned largest first, each to the fold with the fewest samples. A seeded shuffle orders groups of equal
size and decides between equal folds. So two folds differ by at most the largest group.
"""

import random
from collections import Counter
from collections.abc import Sequence

from tune_sa2va.errors import DataError

MIN_FOLDS = 2


def group_folds(groups: Sequence[str], folds: int, *, seed: int) -> tuple[int, ...]:
    """The fold of each sample, from 0 to `folds` - 1; no fold is empty. groups: the group of each sample.

    The result depends on the groups, their sizes, `folds` and `seed`, but not on the order of samples. Run `check`
    first: it joins groups that hold the same picture.

    Raises:
        DataError: fewer groups than folds.
        ValueError: fewer than two folds.
    """
    if folds < MIN_FOLDS:
        raise ValueError(f"folds must be at least {MIN_FOLDS}, got {folds}.")
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise DataError(
            f"{folds} folds need at least {folds} groups, got {len(sizes)}. Ask for fewer folds, add images of other "
            "patients, or give independent images groups of their own (the group column of manifest.csv)."
        )
    generator = random.Random(seed)
    ordered = sorted(sizes)
    generator.shuffle(ordered)
    ordered.sort(key=lambda group: -sizes[group])  # stable: groups of one size stay shuffled
    tie_break = [generator.random() for _ in range(folds)]
    filled = [0] * folds
    fold_of: dict[str, int] = {}
    for group in ordered:
        fold = min(range(folds), key=lambda fold: (filled[fold], tie_break[fold]))
        fold_of[group] = fold
        filled[fold] += sizes[group]
    return tuple(fold_of[group] for group in groups)
