"""Augments pictures and masks by a view (see `data.views`), on the device and inside the captured step."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_BLUR_REACH = 4
"""Pixels that a blur reads to each side: more than twice the largest standard deviation."""
_LEAST = 1e-4


@torch.no_grad()
def seen_pictures(
    pictures: Float[Tensor, "B 3 H W"], view: Float[Tensor, "B 11"], noise_like: Callable[[Tensor], Tensor]
) -> Float[Tensor, "B 3 H W"]:
    """Pictures in [0, 1] as each image's view shows them, in [0, 1]. Beyond its edges a picture is black.

    noise_like: gives standard normal noise of a tensor's shape.
    """
    grid = F.affine_grid(view[:, :6].view(-1, 2, 3), list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    contrast, brightness, gamma, blur, noise = (number.view(-1, 1, 1, 1) for number in view[:, 6:].unbind(1))
    bright = moved.clamp(min=_LEAST) ** gamma
    mean = bright.mean(dim=(1, 2, 3), keepdim=True)
    lit = _blurred((bright - mean) * contrast + mean + brightness, blur)
    return (lit + noise * noise_like(lit)).clamp(0, 1)


@torch.no_grad()
def seen_tiles(
    tiles: Float[Tensor, "B N 3 P P"],
    grid: tuple[int, int],
    view: Float[Tensor, "B 11"],
    noise_like: Callable[[Tensor], Tensor],
) -> Float[Tensor, "B N 3 P P"]:
    """Like `seen_pictures`, for pictures cut into tiles: rows x columns of `grid`, then the thumbnail if there is one.

    The tiles are put together before the view is applied and cut again afterwards.
    """
    rows, columns = grid
    cut = tiles[:, : rows * columns].unflatten(1, grid)
    whole = seen_pictures(cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3), view, noise_like)
    again = whole.unflatten(3, (columns, -1)).unflatten(2, (rows, -1)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    thumbnails = [
        seen_pictures(tiles[:, number], view, noise_like)[:, None] for number in range(rows * columns, tiles.shape[1])
    ]
    return torch.cat((again, *thumbnails), dim=1)


@torch.no_grad()
def seen_truth(
    truth: Bool[Tensor, "B H W"], valid: Bool[Tensor, "B H W"], view: Float[Tensor, "B 11"]
) -> Bool[Tensor, "B H W"]:
    """Masks as each image's view shows them. Each image lies in the upper left corner of the canvas, where `valid`.

    A pixel is vessel if bilinear interpolation of the original mask at its place gives more than 0.5.
    """
    # Size of the canvas over that of the image, along x and y.
    share = torch.stack((truth.shape[2] / valid.any(1).sum(1), truth.shape[1] / valid.any(2).sum(1)), dim=1)
    share = share[:, None, None]
    # affine_grid gives canvas coordinates: convert them to image coordinates, apply the view, and convert back.
    places = F.affine_grid(_identity(truth), [len(truth), 1, *truth.shape[1:]], align_corners=False)
    on_image = (places + 1) * share - 1
    matrix = view[:, :6].view(-1, 2, 3)
    moved = on_image @ matrix[:, None, :, :2].transpose(2, 3) + matrix[:, None, None, :, 2]
    on_canvas = (moved + 1) / share - 1
    values = F.grid_sample(truth[:, None].float(), on_canvas, mode="bilinear", align_corners=False)[:, 0]
    return (values > 0.5) & valid


def _identity(like: Tensor) -> Float[Tensor, "B 2 3"]:
    return torch.eye(2, 3, device=like.device).expand(len(like), -1, -1)


def _blurred(pictures: Float[Tensor, "B 3 H W"], deviation: Float[Tensor, "B 1 1 1"]) -> Float[Tensor, "B 3 H W"]:
    """Pictures blurred along both axes by a Gaussian. deviation: each image's, in pixels; 0 does not blur it."""
    offsets = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=pictures.device)
    weights = torch.exp(-0.5 * (offsets / deviation.view(-1, 1).clamp(min=1e-2)) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    planes = F.pad(pictures.flatten(0, 1)[None], [_BLUR_REACH] * 4, mode="replicate")
    for kernel in (weights[:, None, :, None], weights[:, None, None, :]):
        planes = F.conv2d(planes, kernel, groups=len(weights))
    return planes.view(pictures.shape)
