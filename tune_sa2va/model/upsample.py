"""Resizes mask logits from the mask decoder's grid to the image's original size, as Sa2VA does at inference."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def to_image_size(
    mask_logits: Float[Tensor, "B S S"], *, sam_side: int, height: int, width: int
) -> Float[Tensor, "B H W"]:
    """Logits on the image's H x W pixels: resized to SAM2's square and then to the image, both bilinear
    (align_corners=False) and in fp32."""
    square = F.interpolate(mask_logits.float()[:, None], (sam_side, sam_side), mode="bilinear", align_corners=False)
    return F.interpolate(square, (height, width), mode="bilinear", align_corners=False)[:, 0]


def resize_matrix(
    length: int, *, mask_side: int, sam_side: int, canvas: int, device: torch.device
) -> Float[Tensor, "C S"]:
    """One axis of `to_image_size` as a matrix: M_height x mask x M_width^T gives the same logits.

    Both resizes are linear and separable, so their product is one matrix per axis. With it, an image's size is data and
    not shape. Rows from `length` to `canvas` are zero.
    """
    square = F.interpolate(torch.eye(mask_side, device=device)[None], sam_side, mode="linear", align_corners=False)
    rows = F.interpolate(square, length, mode="linear", align_corners=False)[0].T
    return F.pad(rows, (0, 0, 0, canvas - length))
