"""Loads the mask of a sample as an array, from a mask file, a label map or outlines."""

import numpy as np
from jaxtyping import Bool

from tune_sa2va.data.images import MaskFile, load_label_mask, load_mask_file
from tune_sa2va.data.outlines import rasterise
from tune_sa2va.data.run_lengths import unrolled
from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.errors import DataError


class SizeMismatchError(DataError):
    """A mask has another size than its image."""


def load_truth(sample: Sample, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """True where `sample`'s mask shows its text, on the `height` x `width` pixels of its upright image.

    Raises:
        SizeMismatchError, DataError: as `read_truth`.
    """
    return read_truth(sample, height, width).mask


def read_truth(sample: Sample, height: int, width: int) -> MaskFile:
    """The truth, with the value of the mask file that stands for it (None for outlines and labels).

    Raises:
        SizeMismatchError: the mask file has another size, or the outlines were drawn on a picture of another size.
        DataError: the mask file cannot be read (see `load_mask_file` and `load_label_mask`).
    """
    if isinstance(sample.mask, Polygons):
        if sample.mask.size_px not in (None, (height, width)):
            drawn_height, drawn_width = sample.mask.size_px
            raise SizeMismatchError(
                f"{sample.name}: its entry says {drawn_width} x {drawn_height} pixels, the picture has {width} x "
                f"{height}. Scale the polygons to the picture, or put the picture back that they were drawn on."
            )
        return MaskFile(mask=_drawn(sample.name, sample.mask, height, width), shown_as=None)
    if isinstance(sample.mask, Label):
        file, label = sample.mask.file, sample.mask
        found = MaskFile(mask=load_label_mask(file, label.values, label.known), shown_as=None)
    else:
        file, found = sample.mask, load_mask_file(sample.mask)
    if found.mask.shape != (height, width):
        mask_height, mask_width = found.mask.shape
        raise SizeMismatchError(
            f"{file}: the image is {width} x {height} pixels, its mask {mask_width} x {mask_height}. "
            "Save both at one size."
        )
    return found


def _drawn(name: str, mask: Polygons, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    mask_HW = rasterise(mask.outlines, height, width, mask.rule or "union")
    for runs in mask.runs:
        if runs.size_px != (height, width):
            raise SizeMismatchError(
                f"{name}: its run lengths are of {runs.size_px[1]} x {runs.size_px[0]} pixels, the picture has {width} "
                f"x {height}. Put the picture back that they were made of."
            )
        mask_HW |= unrolled(runs)
    return mask_HW
