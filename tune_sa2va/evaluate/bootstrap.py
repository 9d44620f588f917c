"""Bootstrap intervals of means over images. Groups (patients) are resampled, because images of one patient are alike.

Whole groups are drawn with replacement, each with all its images, and the mean over the drawn images is taken. That is
the mean which is shown; the mean of the groups' means would differ if patients have different numbers of images. The
interval is scipy's BCa (Efron 1987: corrected for bias and skew), or percentiles where BCa is not defined, for example
if all values are equal.

With few groups any bootstrap interval is too narrow (Hesterberg, arXiv 1411.5279, section 4.3). That is why
`evaluate.paired` requires more than an interval for a verdict.
"""

import math
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap

_BATCH = 500
"""Resamples computed at a time: 8 MB for 1,000 groups."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval. `low` and `high` are NaN with fewer than two groups."""

    mean: float
    low: float
    high: float
    num_values: int
    """Values that went into the mean."""
    num_groups: int
    """Number of different groups among them."""
    num_skipped: int
    """Values (or pairs) left out because they are NaN."""


def mean_interval(
    values: Sequence[float],
    groups: Sequence[Hashable],
    texts: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of per-image values with its bootstrap interval over groups. NaN values are left out and counted.

    groups: the group of each value's image.
    texts: what each image was asked for. With several texts, the mean is over texts of their means over images, and a
        drawn group includes its images of all texts. None if all were asked for the same.
    confidence: in (0, 1).

    Raises:
        ValueError: `groups` or `texts` differ in length from `values`, or `confidence` is outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if len(values) != len(groups):
        raise ValueError(f"each value needs its group, got {len(values)} values and {len(groups)} groups")
    if texts is not None and len(values) != len(texts):
        raise ValueError(f"each value needs its text, got {len(values)} values and {len(texts)} texts")
    given = np.asarray(values, dtype=np.float64)
    is_kept = ~np.isnan(given)
    kept = given[is_kept]
    weights = text_weights([text for text, keep in zip(texts or [""] * len(given), is_kept, strict=True) if keep])
    kept_groups = [group for group, keep in zip(groups, is_kept, strict=True) if keep]
    sums, sizes = group_sums(kept * weights, kept_groups)[0], group_sums(weights, kept_groups)[0]
    low, high = math.nan, math.nan
    if len(sizes) >= 2:
        low, high = map(float, resampled_range(sums, sizes, confidence=confidence, resamples=resamples, seed=seed))
    return Interval(
        mean=float((kept * weights).mean()) if len(kept) else math.nan,
        low=low,
        high=high,
        num_values=len(kept),
        num_groups=len(sizes),
        num_skipped=len(given) - len(kept),
    )


def text_weights(texts: Sequence[str]) -> Float[np.ndarray, " N"]:
    """Weights, 1 on average, that make the mean over values the mean over texts of their means; all 1 for one text."""
    counts = Counter(texts)
    return np.array([len(texts) / (len(counts) * counts[text]) for text in texts], dtype=np.float64)


def group_sums(
    values: Float[np.ndarray, "*draws N"], groups: Sequence[Hashable]
) -> tuple[Float[np.ndarray, "*draws G"], Float[np.ndarray, " G"]]:
    """Each group's sum of values, and its number of values; groups in the order of their first value."""
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    belongs = np.zeros((len(groups), len(places)))
    belongs[np.arange(len(groups)), [places[group] for group in groups]] = 1.0
    return values @ belongs, belongs.sum(axis=0)


def resampled_range(
    sums: Float[np.ndarray, "*draws G"],
    sizes: Float[np.ndarray, " G"],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[Float[np.ndarray, "*draws"], Float[np.ndarray, "*draws"]]:
    """Lower and upper ends of the bootstrap interval of the mean over all values, for each row of group sums.

    Needs at least two groups. sizes: number (or total weight) of each group's values.
    """

    def mean(sums: np.ndarray, sizes: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(sums.sum(axis=axis) / sizes.sum(axis=axis))

    data = (sums, np.broadcast_to(sizes, sums.shape))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scipy warns where BCa is not defined; that is checked below
        # paired: a group's sum and size are drawn together
        found = bootstrap(
            data, mean, paired=True, vectorized=True, axis=-1, confidence_level=confidence, method="BCa",
            n_resamples=resamples, batch=_BATCH, rng=np.random.default_rng(seed),
        )  # fmt: skip
    tail = (1.0 - confidence) / 2.0
    plain = np.quantile(found.bootstrap_distribution, [tail, 1.0 - tail], axis=-1)
    corrected = np.stack([found.confidence_interval.low, found.confidence_interval.high])
    low, high = np.where(np.isfinite(corrected).all(axis=0), corrected, plain)
    return low, high
