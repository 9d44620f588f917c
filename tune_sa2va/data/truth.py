"""The mask of a sample as an array, whether the data set keeps it as a file or as polygons."""

import numpy as np
from jaxtyping import Bool

from tune_sa2va.data.images import load_mask, rasterise
from tune_sa2va.data.sample import Polygons, Sample
from tune_sa2va.errors import DataError


class SizeMismatchError(DataError):
    """A mask file has another size than its image."""


def load_truth(sample: Sample, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """True where `sample`'s mask shows what its text says, on the `height` x `width` pixels of its upright image.

    Raises:
        SizeMismatchError: the mask file is not of that size.
        DataError: the mask file cannot be read (see `load_mask`).
    """
    if isinstance(sample.mask, Polygons):
        return rasterise(sample.mask.outlines, height, width)
    mask_HW = load_mask(sample.mask)
    if mask_HW.shape != (height, width):
        mask_height, mask_width = mask_HW.shape
        raise SizeMismatchError(
            f"{sample.mask}: the image is {width} x {height} pixels, its mask {mask_width} x {mask_height}. "
            "Save both at one size."
        )
    return mask_HW
