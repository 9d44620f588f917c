"""Draws the augmentation of a training image for steps that run an image encoder: geometry, light, blur and noise.

Only the parameters are drawn here. They follow from seed, epoch and the image's content, so that every run, a resumed
one included, shows the same. `train.look` applies them to the picture and its mask, on the device.
"""

import hashlib
import math

import numpy as np
from jaxtyping import Float

# Ranges at strength 1: wide enough for other devices and operators, narrow enough that vessels still look like vessels.
_TURN_DEGREES, _LOG_SCALE, _SHEAR, _SHIFT = 20.0, 0.25, 0.15, 0.1
_LOG_CONTRAST, _BRIGHTNESS, _LOG_GAMMA, _BLUR_PX, _NOISE = 0.3, 0.1, 0.4, 1.5, 0.05

NUM_NUMBERS = 11
"""Length of the vector that `view_in` returns."""
_QUARTERS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])


def view_in(strength: float, *, seed: int, epoch: int, image: str, height: int, width: int) -> Float[np.ndarray, " 11"]:
    """The augmentation of an image of this size in epoch `epoch`, as 11 fp32 numbers.

    0 to 5: a 2 x 3 matrix, row by row, that maps a position in the new picture to the position in the old one from
        which its colour is taken; x and y are in [-1, 1], from edge to edge.
    6: contrast, a factor. 7: brightness, added to values in [0, 1]. 8: gamma.
    9: standard deviation of a Gaussian blur, in pixels of the encoder's input.
    10: standard deviation of noise, in values in [0, 1].

    strength: in [0, 1]. 0 leaves the image unchanged. Above 0, flips and quarter turns are uniformly drawn, and the
        ranges of the rest are in proportion to it.
    image: any fixed identifier of the image.
    """
    if strength == 0:
        return np.array([1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0], dtype=np.float32)
    digest = hashlib.sha256(f"view {seed} {epoch} {image}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    turn, log_scale, shear, x, y, log_contrast, brightness, log_gamma = strength * random.uniform(-1, 1, 8)
    blur, noise = strength * random.uniform(0, 1, 2) * random.integers(0, 2, 2)
    angle, scale = math.radians(_TURN_DEGREES) * turn, math.exp(_LOG_SCALE * log_scale)
    warp = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    warp = warp @ np.array([[1, _SHEAR * shear], [0, 1]])
    # The warp is in pixels, so that a rotation keeps angles in wide pictures. Quarter turns are of the square input.
    sides = np.diag([width, height]) / 2
    matrix = np.linalg.inv(sides) @ warp @ sides @ _QUARTERS[random.integers(4)]
    matrix = matrix @ np.diag([1 - 2 * random.integers(2), 1])
    light = [math.exp(_LOG_CONTRAST * log_contrast), _BRIGHTNESS * brightness, math.exp(_LOG_GAMMA * log_gamma)]
    row_0, row_1 = matrix.tolist()
    numbers = [*row_0, _SHIFT * x, *row_1, _SHIFT * y, *light, _BLUR_PX * blur, _NOISE * noise]
    return np.array(numbers, dtype=np.float32)
