"""Augments geometry and appearance on the device, each image differently, so that no scene is seen twice the same."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


def augment(
    images: UInt8[Tensor, "B 3 H W"], masks: Float[Tensor, "B 1 H W"], generator: torch.Generator
) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 1 H W"]]:
    """Pictures in [0, 1] with random rotation, flip, zoom, aspect, sharpness, tone, shading and noise; and their masks.

    Masks are 0 or 1 after resampling, too.
    """
    batch, _, height, width = images.shape
    device = images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(batch, device=device).uniform_(low, high, generator=generator)

    def chance(probability: float) -> Tensor:
        return (uniform(0, 1) < probability).float()

    grid = F.affine_grid(_affine(uniform, chance), [batch, 1, height, width], align_corners=False)
    x = F.grid_sample(images.float() / 255, grid, mode="bilinear", padding_mode="border", align_corners=False)
    y = F.grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    y = (y > 0.5).float()

    def column(values: Tensor) -> Tensor:
        return values.view(batch, 1, 1, 1)

    # Real pictures are often enlarged to SAM2's grid, from 300 pixels to 512 and more.
    for factor in (1.6, 2.2):
        coarse = F.interpolate(x, scale_factor=1 / factor, mode="bilinear", antialias=True)
        enlarged = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)
        x = torch.lerp(x, enlarged, column(chance(0.3)))
    grey = x.mean(dim=1, keepdim=True).expand_as(x)
    x = torch.lerp(x, grey, column(chance(0.3)))
    x = torch.lerp(x, 1 - x, column(chance(0.06)))
    x = x.clamp(1e-4, 1) ** column(torch.exp(uniform(-0.5, 0.5)))
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (x - mean) * column(torch.exp(uniform(-0.6, 0.4))) + mean + column(uniform(-0.15, 0.15))
    x = x + x.new_empty(batch, 3, 1, 1).uniform_(-0.05, 0.05, generator=generator) * column(chance(0.5))
    x = x + _shading(batch, height, width, device, generator) * column(uniform(0, 0.25) * chance(0.6))
    noise = torch.empty(batch, 1, height, width, device=device).normal_(generator=generator)
    x = x + noise * column(uniform(0, 0.06) * chance(0.5))
    return x.clamp(0, 1), y


def _affine(uniform: Callable[[float, float], Tensor], chance: Callable[[float], Tensor]) -> Float[Tensor, "B 2 3"]:
    """Random quarter turn and flip, up to 15 degrees of rotation, zoom 0.55 to 1.15, aspect up to 1.3, small shift."""
    angle = torch.round(uniform(-0.5, 3.5)) * (math.pi / 2) + uniform(-0.26, 0.26)
    scale = torch.exp(uniform(math.log(0.55), math.log(1.15)))
    stretch = torch.exp(uniform(-0.26, 0.26))
    flip = 1 - 2 * chance(0.5)
    cos, sin = torch.cos(angle), torch.sin(angle)
    reach = (1 - scale).clamp(min=0)
    rows = (
        torch.stack((flip * cos * scale * stretch, -sin * scale / stretch, uniform(-1, 1) * reach), dim=1),
        torch.stack((flip * sin * scale * stretch, cos * scale / stretch, uniform(-1, 1) * reach), dim=1),
    )
    return torch.stack(rows, dim=1)


def _shading(
    batch: int, height: int, width: int, device: torch.device, generator: torch.Generator
) -> Float[Tensor, "B 1 H W"]:
    coarse = torch.empty(batch, 1, 4, 4, device=device).normal_(generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
