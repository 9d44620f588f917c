"""The mask of a sample as an array, whether the data set keeps it as a file or as polygons."""

import numpy as np
from jaxtyping import Bool

from tune_sa2va.data.images import MaskFile, load_mask_file
from tune_sa2va.data.outlines import rasterise
from tune_sa2va.data.sample import Polygons, Sample
from tune_sa2va.errors import DataError


class SizeMismatchError(DataError):
    """A mask has another size than its image."""


def load_truth(sample: Sample, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """True where `sample`'s mask shows what its text says, on the `height` x `width` pixels of its upright image.

    Raises:
        SizeMismatchError, DataError: as `read_truth`.
    """
    return read_truth(sample, height, width).mask


def read_truth(sample: Sample, height: int, width: int) -> MaskFile:
    """The truth, and which value of a mask file stands for it (None for outlines).

    Raises:
        SizeMismatchError: the mask file is not of that size, or the outlines were drawn on a picture of another.
        DataError: the mask file cannot be read (see `load_mask_file`).
    """
    if isinstance(sample.mask, Polygons):
        if sample.mask.size_px not in (None, (height, width)):
            drawn_height, drawn_width = sample.mask.size_px
            raise SizeMismatchError(
                f"{sample.name}: its entry says {drawn_width} x {drawn_height} pixels, the picture has {width} x "
                f"{height}. Scale the polygons to the picture, or put the picture back that they were drawn on."
            )
        mask_HW = rasterise(sample.mask.outlines, height, width, sample.mask.rule or "union")
        return MaskFile(mask=mask_HW, shown_as=None)
    found = load_mask_file(sample.mask)
    if found.mask.shape != (height, width):
        mask_height, mask_width = found.mask.shape
        raise SizeMismatchError(
            f"{sample.mask}: the image is {width} x {height} pixels, its mask {mask_width} x {mask_height}. "
            "Save both at one size."
        )
    return found
