"""Chooses the threshold that turns probabilities into masks. One pass over the images scores a whole grid.

A histogram of an image's logits over the grid, separate for vessel and background pixels, gives the pixel counts at
every threshold. It is computed on the device, and only the histogram is copied from there. Counts at a threshold are
exactly those of `sigmoid(logits) > threshold`, so 0.5 gives what the search records.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tune_sa2va.evaluate.metrics import Counts, mean_scores

GRID = tuple(step / 100 for step in range(1, 100))
"""The thresholds that are compared: 0.01, 0.02, ... 0.99."""

DEFAULT_THRESHOLD = 0.5
"""Sa2VA's own threshold."""


def logit_of(threshold: float) -> float:
    """`logits > logit_of(threshold)` is the mask `sigmoid(logits) > threshold`; threshold in (0, 1)."""
    return math.log(threshold / (1 - threshold))


def histogram(logits: Float[Tensor, "H W"], truth: Bool[Tensor, "H W"]) -> Int[Tensor, "2 G+1"]:
    """Number of pixels by how many thresholds of GRID they exceed: background in row 0, vessel in row 1."""
    edges = torch.tensor([logit_of(t) for t in GRID], device=logits.device, dtype=logits.dtype)
    passed = torch.bucketize(logits, edges)  # counts edges strictly below the logit, as a mask is `logit > edge`
    bins = len(GRID) + 1
    return torch.bincount((passed + bins * truth).flatten(), minlength=2 * bins).view(2, bins)


def counts_at(histogram_2G: Int[np.ndarray, "2 G+1"], threshold: float) -> Counts:
    """The pixel counts of one image at a threshold of GRID."""
    first = GRID.index(threshold) + 1
    (tn, fn), (fp, tp) = histogram_2G[:, :first].sum(axis=1), histogram_2G[:, first:].sum(axis=1)
    return Counts(tp=int(tp), fp=int(fp), fn=int(fn), tn=int(tn))


def choose_threshold(histograms: Sequence[Int[np.ndarray, "2 G+1"]], texts: Sequence[str] | None = None) -> float:
    """The threshold of GRID with the highest mean Dice (`mean_scores`); among equals the one nearest to 0.5.

    histograms: from `histogram`, one per image. Without an image, the threshold is 0.5.
    texts: what each image was asked for; None if all were asked for the same.
    """
    dice = {t: mean_scores([counts_at(image, t) for image in histograms], texts).dice for t in GRID}
    scored = {threshold: value for threshold, value in dice.items() if not math.isnan(value)}
    return max(scored, key=lambda t: (scored[t], -abs(t - DEFAULT_THRESHOLD)), default=DEFAULT_THRESHOLD)
