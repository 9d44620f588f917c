"""Grey fields and camera effects: smooth noise, ramps, blur, grain, JPEG.

Smooth fields are generated on a coarse grid and enlarged, and all arrays are float32: a 512x512 image must cost only
milliseconds, since a few worker processes have to feed a GPU.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from tune_sa2va.data.procedural.scene import Field, Image8


def enlarge(coarse: Field, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Field:
    """A float32 field resized to (size, size)."""
    if coarse.shape == (size, size):
        return coarse
    return np.asarray(Image.fromarray(np.ascontiguousarray(coarse, np.float32)).resize((size, size), resample))


def smooth_noise(rng: np.random.Generator, size: int, cells: float, octaves: int = 1, fall: float = 0.5) -> Field:
    """Zero-mean noise (size, size), about unit deviation; `cells` bumps along a side, doubled per octave."""
    # Bicubic enlargement of white noise lowers its deviation; 1.25 restores it.
    total: Field | None = None
    weight, power = 1.0, 0.0
    for octave in range(octaves):
        grid = int(min(max(2, round(cells * 2**octave)), size))
        noise = rng.standard_normal((grid, grid), dtype=np.float32) * np.float32(1.25 * weight)
        # The running sum is only as fine as its finest octave; only the last enlargement is to full size.
        total = noise if total is None else enlarge(total, grid) + noise
        power += weight**2
        weight *= fall
    assert total is not None
    return enlarge(total, size) / np.float32(np.sqrt(power))


def grain(rng: np.random.Generator, size: int, correlation_px: float, along: float = 1.0) -> Field:
    """Unit-deviation noise with a correlation length; `along` > 1 stretches it along x (scan lines)."""
    height = int(np.clip(size / max(correlation_px, 1.0), 8, size))
    width = int(np.clip(size / max(correlation_px * along, 1.0), 4, size))
    noise = rng.standard_normal((height, width), dtype=np.float32)
    if (height, width) != (size, size):
        noise = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC))
        noise = noise * np.float32(1.0 / max(float(noise.std()), 1e-3))
    return noise


def blur(image: Field, sigma_px: float) -> Field:
    """Gaussian blur of (H, W); a wide one is computed on a reduced copy."""
    if sigma_px < 0.25:
        return image
    if sigma_px > 2.4:
        factor = int(sigma_px / 1.2)
        size = image.shape[0]
        small = enlarge(image, max(8, size // factor), Image.Resampling.BOX)
        return enlarge(ndimage.gaussian_filter(small, sigma_px / factor, truncate=2.5), size)
    return ndimage.gaussian_filter(image, sigma_px, truncate=2.5)


def grid(size: int) -> tuple[Field, Field]:
    """Pixel centres in side lengths: x (1, size) and y (size, 1)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return axis[None, :], axis[:, None]


def ramp(distance: Field, width: float) -> Field:
    """0 where the signed distance is well below zero, 1 well above; `width` is the length of the slope between."""
    return np.clip(distance / np.float32(max(width, 1e-4)) + 0.5, 0, 1)


def jpeg(image: Image8, quality: int) -> Image8:
    """A real JPEG round trip of uint8 (H, W) or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def to_uint8(image: Field) -> Image8:
    """Grey levels clipped to 0..255."""
    return np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)


def resize8(image: Image8, size: int, resample: Image.Resampling = Image.Resampling.BILINEAR) -> Image8:
    """uint8 (H, W) or (H, W, 3) resized to (size, size)."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), resample))


def as_rgb(grey: Image8) -> Image8:
    """(H, W) repeated into (H, W, 3)."""
    return np.repeat(grey[..., None], 3, axis=2)
