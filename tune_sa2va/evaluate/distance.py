"""How far a predicted outline lies from the true one, in pixels of the original image."""

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from tune_sa2va.evaluate.metrics import require_same_grid


def hausdorff_95(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> float:
    """95th percentile Hausdorff distance of the outlines in pixels, 0 is best: the larger of the two directions.

    Each direction is the 95th percentile (linear interpolation) of the Euclidean distances from the outline pixels of
    one mask to the nearest outline pixel of the other. The maximum of the two is what Metrics Reloaded (Maier-Hein et
    al., Nature Methods 2024) and MONAI take; MedPy pools the distances of both first and may give less.
    An outline pixel is a mask pixel with a 4-neighbour outside the mask; the image's rim is outside.
    NaN where both masks are empty; the image's diagonal, more than any two pixels can be apart, where only one is.
    """
    require_same_grid(mask_HW, truth_HW)
    if not mask_HW.any() or not truth_HW.any():
        return math.hypot(*mask_HW.shape) if mask_HW.any() or truth_HW.any() else math.nan
    mask_outline, truth_outline = _outline(mask_HW), _outline(truth_HW)
    return max(_directed_95(mask_outline, truth_outline), _directed_95(truth_outline, mask_outline))


def _outline(mask_HW: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    return mask_HW & ~ndimage.binary_erosion(mask_HW)


def _directed_95(from_HW: Bool[np.ndarray, "H W"], to_HW: Bool[np.ndarray, "H W"]) -> float:
    distance_HW: Float[np.ndarray, "H W"] = ndimage.distance_transform_edt(~to_HW)
    return float(np.percentile(distance_HW[from_HW], 95))
