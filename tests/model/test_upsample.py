"""The matrices that resize masks equal torch's two interpolations, and are zero beyond the image."""

import pytest
import torch
import torch.nn.functional as F

from tune_sa2va.model.upsample import resize_matrix, to_image_size

MASK, SAM = 16, 64


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 37), (13, 90)])
def test_a_product_of_matrices_is_two_interpolations(height: int, width: int) -> None:
    logits = torch.randn(2, MASK, MASK, generator=torch.Generator().manual_seed(0))
    square = F.interpolate(logits[:, None], (SAM, SAM), mode="bilinear", align_corners=False)
    wanted = F.interpolate(square, (height, width), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(to_image_size(logits, sam_side=SAM, height=height, width=width), wanted)
    down, across = (
        resize_matrix(length, mask_side=MASK, sam_side=SAM, canvas=128, device=torch.device("cpu"))
        for length in (height, width)
    )
    found = down @ logits @ across.T
    assert found.shape == (2, 128, 128)
    torch.testing.assert_close(found[:, :height, :width], wanted, rtol=1e-5, atol=1e-5)
    assert not found[:, height:].any() and not found[:, :, width:].any()
