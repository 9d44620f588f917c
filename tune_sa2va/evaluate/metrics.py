"""Overlap scores of vessel masks, from pixel counts that are kept per image.

A score is said of one image first and then averaged over images, so that a large image does not outvote a small one.
Counts, not scores, are what a caller stores: every score can be taken from them again. The pixel grid (the original
image) and the threshold (0.5) are the caller's; masks come here already two-valued.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels of one image by agreement; vessel is the positive class.

    The four scores lie in [0, 1]. All are NaN where neither truth nor prediction has a vessel pixel: nothing was
    there to find and nothing was claimed. Otherwise a score with nothing to divide by is 0, as in scikit-learn's
    `zero_division=0`: the precision of an empty prediction, the recall of an empty truth.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return self._share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN)."""
        return self._share(self.tp, self.tp + self.fp + self.fn)

    @property
    def recall(self) -> float:
        """TP / (TP + FN): the share of the vessel that was found (sensitivity)."""
        return self._share(self.tp, self.tp + self.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP): the share of what was found that is vessel."""
        return self._share(self.tp, self.tp + self.fp)

    @property
    def both_empty(self) -> bool:
        """Neither truth nor prediction has a vessel pixel."""
        return self.tp + self.fp + self.fn == 0

    def _share(self, part: int, whole: int) -> float:
        if self.both_empty:
            return math.nan
        return part / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over images, each image counted once. All NaN where no image could be scored."""

    dice: float
    iou: float
    recall: float
    precision: float
    num_images: int
    """Images given, the skipped ones included."""
    num_skipped: int
    """Images left out of every mean, because truth and prediction are both empty."""


def count(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> Counts:
    """Pixels by agreement of a predicted mask with the truth, on one and the same grid."""
    require_same_grid(mask_HW, truth_HW)
    tp = int(np.count_nonzero(mask_HW & truth_HW))
    num_found = int(np.count_nonzero(mask_HW))
    num_true = int(np.count_nonzero(truth_HW))
    return Counts(tp=tp, fp=num_found - tp, fn=num_true - tp, tn=mask_HW.size - num_found - num_true + tp)


def require_same_grid(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> None:
    """Raises ValueError unless both masks are bool and of one shape: what every score of this package asks for."""
    if mask_HW.shape != truth_HW.shape:
        raise ValueError(f"mask and truth must have one shape, got {mask_HW.shape} and {truth_HW.shape}: resize first")
    if mask_HW.dtype != np.bool_ or truth_HW.dtype != np.bool_:
        raise ValueError(f"mask and truth must be bool, got {mask_HW.dtype} and {truth_HW.dtype}: threshold first")


def mean_scores(counts: Sequence[Counts]) -> Scores:
    """The mean of each score over images; images with nothing to score are left out and counted."""
    scored = [image for image in counts if not image.both_empty]

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values) if values else math.nan

    return Scores(
        dice=mean([image.dice for image in scored]),
        iou=mean([image.iou for image in scored]),
        recall=mean([image.recall for image in scored]),
        precision=mean([image.precision for image in scored]),
        num_images=len(counts),
        num_skipped=len(counts) - len(scored),
    )
