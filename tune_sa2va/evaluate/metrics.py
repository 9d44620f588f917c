"""Overlap scores of vessel masks, from pixel counts per image.

A score is computed per image and then averaged over images, so a large image does not outweigh a small one. Callers
store counts, not scores, because every score can be computed from them. The caller chooses the pixel grid (that of the
original image) and the threshold (0.5); this file only sees binary masks.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels of one image by agreement; vessel is the positive class.

    The four scores lie in [0, 1]. All are 1 if neither truth nor prediction has a vessel pixel: predicting nothing is
    right if the target is absent. Otherwise a score whose denominator is 0 is 0, as with scikit-learn's
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
        """TP / (TP + FP): the share of the prediction that is vessel."""
        return self._share(self.tp, self.tp + self.fp)

    @property
    def is_absent(self) -> bool:
        """Whether the truth has no vessel pixel, so the target is not in the image."""
        return self.tp + self.fn == 0

    @property
    def is_false_alarm(self) -> bool:
        """Whether vessel is predicted although the target is absent."""
        return self.is_absent and self.fp > 0

    def _share(self, part: int, whole: int) -> float:
        if self.tp + self.fp + self.fn == 0:
            return 1.0
        return part / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over texts of the means over images, each image counted once. All NaN if there is no image."""

    dice: float
    iou: float
    recall: float
    precision: float
    num_images: int
    """Number of images; one with several texts counts once per text."""
    num_absent: int
    """Images whose truth is empty. They count like others: 1 if nothing is predicted, otherwise 0."""
    num_false_alarms: int
    """Images with an absent target for which vessel is predicted."""


def count(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> Counts:
    """Pixels by agreement of a predicted mask with the truth, both on the same grid."""
    require_same_grid(mask_HW, truth_HW)
    tp = int(np.count_nonzero(mask_HW & truth_HW))
    num_found = int(np.count_nonzero(mask_HW))
    num_true = int(np.count_nonzero(truth_HW))
    return Counts(tp=tp, fp=num_found - tp, fn=num_true - tp, tn=mask_HW.size - num_found - num_true + tp)


def require_same_grid(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> None:
    """Raises ValueError unless both masks are bool and have the same shape, which every score here requires."""
    if mask_HW.shape != truth_HW.shape:
        raise ValueError(f"mask and truth must have one shape, got {mask_HW.shape} and {truth_HW.shape}: resize first")
    if mask_HW.dtype != np.bool_ or truth_HW.dtype != np.bool_:
        raise ValueError(f"mask and truth must be bool, got {mask_HW.dtype} and {truth_HW.dtype}: threshold first")


def mean_scores(counts: Sequence[Counts], texts: Sequence[str] | None = None) -> Scores:
    """The mean over texts of each score's mean over images, so that a rare text counts as much as a frequent one.

    texts: what each image was asked for; None if all were asked for the same.
    """
    of_text: dict[str, list[Counts]] = defaultdict(list)
    for image, text in zip(counts, texts if texts is not None else [""] * len(counts), strict=True):
        of_text[text].append(image)

    def mean(name: str) -> float:
        values = [_mean([getattr(image, name) for image in images]) for images in of_text.values()]
        return _mean(values) if values else math.nan

    return Scores(
        dice=mean("dice"),
        iou=mean("iou"),
        recall=mean("recall"),
        precision=mean("precision"),
        num_images=len(counts),
        num_absent=sum(image.is_absent for image in counts),
        num_false_alarms=sum(image.is_false_alarm for image in counts),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
