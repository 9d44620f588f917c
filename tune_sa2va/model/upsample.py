"""From the mask decoder's grid to the image's own pixels, the way Sa2VA does it at inference."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def to_image_size(
    mask_logits: Float[Tensor, "B S S"], *, sam_side: int, height: int, width: int
) -> Float[Tensor, "B H W"]:
    """Logits on the image's H x W: bilinear (align_corners=False) to SAM2's square, and bilinear again, in fp32."""
    square = F.interpolate(mask_logits.float()[:, None], (sam_side, sam_side), mode="bilinear", align_corners=False)
    return F.interpolate(square, (height, width), mode="bilinear", align_corners=False)[:, 0]


def resize_matrix(
    length: int, *, mask_side: int, sam_side: int, canvas: int, device: torch.device
) -> Float[Tensor, "C S"]:
    """One axis of `to_image_size` as a matrix: M of the height x mask x transposed M of the width are the same logits.

    Both resizings are linear and act on each axis by itself, so their product is one matrix; with it an image's size is
    data, not shape. Rows from `length` on, up to `canvas`, are zero.
    """
    square = F.interpolate(torch.eye(mask_side, device=device)[None], sam_side, mode="linear", align_corners=False)
    rows = F.interpolate(square, length, mode="linear", align_corners=False)[0].T
    return F.pad(rows, (0, 0, 0, canvas - length))
