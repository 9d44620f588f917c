"""How sure a mean over images is, and whether two models differ: the percentile bootstrap over images.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Images are drawn with replacement, so
images of one patient count as independent; where a patient has many, the true interval is wider than the one given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Verdict = Literal["better", "worse", "tie"]

BLOCK = 1_000
"""Resamples drawn at a time: 8 MB of indices for 1,000 images."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it may lie. `low` and `high` are NaN with fewer than two values: one image says nothing."""

    mean: float
    low: float
    high: float
    num_values: int
    """Values that went into the mean."""
    num_skipped: int
    """Values (or pairs) left out because they are NaN."""


def mean_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """The mean of per-image values with its bootstrap interval; NaN values are left out and counted."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    given = np.asarray(values, dtype=np.float64)
    kept = given[~np.isnan(given)]
    num_skipped = len(given) - len(kept)
    if len(kept) < 2:
        mean = float(kept[0]) if len(kept) else math.nan
        return Interval(mean=mean, low=math.nan, high=math.nan, num_values=len(kept), num_skipped=num_skipped)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(_resampled_means(kept, resamples, seed), [tail, 1.0 - tail])
    return Interval(
        mean=float(kept.mean()), low=float(low), high=float(high), num_values=len(kept), num_skipped=num_skipped
    )


def paired_interval(
    a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """The mean of `a - b` over the same images with its interval; a pair with a NaN is left out and counted."""
    if len(a) != len(b):
        raise ValueError(f"paired values must come from the same images, got {len(a)} and {len(b)} of them")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return mean_interval(differences.tolist(), confidence=confidence, resamples=resamples, seed=seed)


def verdict(
    a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Verdict:
    """Whether `a` is better (higher) than `b` on the same images: a tie where the interval of `a - b` holds 0."""
    interval = paired_interval(a, b, confidence=confidence, resamples=resamples, seed=seed)
    if interval.low > 0.0:
        return "better"
    if interval.high < 0.0:
        return "worse"
    return "tie"


def _resampled_means(values: Float[np.ndarray, " N"], resamples: int, seed: int) -> Float[np.ndarray, " R"]:
    random = np.random.default_rng(seed)
    blocks = []
    for first in range(0, resamples, BLOCK):
        drawn = random.integers(len(values), size=(min(BLOCK, resamples - first), len(values)))
        blocks.append(values[drawn].mean(axis=1))
    return np.concatenate(blocks)
