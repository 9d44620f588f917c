"""Distance between the outlines of a predicted and a true mask."""

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from tune_sa2va.evaluate.metrics import require_same_grid


def hausdorff_95(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> float:
    """95% Hausdorff distance of the outlines in pixels of the masks' grid, 0 is best: the larger of two directions.

    Each direction is the 95th percentile (linear interpolation) of the Euclidean distances from the outline pixels of
    one mask to the nearest outline pixel of the other. Metrics Reloaded (Maier-Hein et al., Nature Methods 2024) and
    MONAI also take the maximum of the two; MedPy pools the distances of both directions and may give less.
    An outline pixel is a mask pixel with a 4-neighbour outside the mask; beyond the image is outside.
    NaN if both masks are empty. If only one is, the image's diagonal, which exceeds any distance of two pixels.
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
