"""From the mask decoder's grid to the image's own pixels, the way Sa2VA does it at inference."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def to_image_size(
    mask_logits: Float[Tensor, "B S S"], *, sam_side: int, height: int, width: int
) -> Float[Tensor, "B H W"]:
    """Logits on the image's H x W: bilinear (align_corners=False) to SAM2's square, and bilinear again, in fp32."""
    square = F.interpolate(mask_logits.float()[:, None], (sam_side, sam_side), mode="bilinear", align_corners=False)
    return F.interpolate(square, (height, width), mode="bilinear", align_corners=False)[:, 0]
