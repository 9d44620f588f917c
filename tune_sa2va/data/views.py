"""How a training image looks this time, for steps that run an image encoder: turned, warped, blurred, of other light.

Numbers only: they follow from seed, epoch and the image's content, so that every run, and one that resumes, shows the
same. `train.look` makes the picture and its mask of them, on the device.
"""

import hashlib
import math

import numpy as np
from jaxtyping import Float

# At strength 1. Wide enough for other devices and other hands, narrow enough that a vessel still looks like one.
_TURN_DEGREES, _LOG_SCALE, _SHEAR, _SHIFT = 20.0, 0.25, 0.15, 0.1
_LOG_CONTRAST, _BRIGHTNESS, _LOG_GAMMA, _BLUR_PX, _NOISE = 0.3, 0.1, 0.4, 1.5, 0.05

NUM_NUMBERS = 11
"""Of a view."""
_QUARTERS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])


def view_in(strength: float, *, seed: int, epoch: int, image: str, height: int, width: int) -> Float[np.ndarray, " 11"]:
    """How epoch `epoch` shows an image of this size: fp32 numbers.

    0 to 5: a 2 x 3 matrix, row by row, that takes a place of the new picture to the place in the old one whose colour
    it has; places have x and y in [-1, 1], from the edge to the opposite edge. 6: contrast, a factor. 7: brightness, to
    be added to values in [0, 1]. 8: gamma. 9: standard deviation of a Gaussian blur, in pixels of the encoder's input.
    10: standard deviation of noise.

    strength: 0 shows it as it is; above, flips and quarter turns are as likely as not, and the rest is in proportion.
    image: any fixed name of it.
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
    # In pixels, so that a turn keeps angles however wide the picture is; quarter turns are of the encoder's square.
    sides = np.diag([width, height]) / 2
    matrix = np.linalg.inv(sides) @ warp @ sides @ _QUARTERS[random.integers(4)]
    matrix = matrix @ np.diag([1 - 2 * random.integers(2), 1])
    light = [math.exp(_LOG_CONTRAST * log_contrast), _BRIGHTNESS * brightness, math.exp(_LOG_GAMMA * log_gamma)]
    row_0, row_1 = matrix.tolist()
    numbers = [*row_0, _SHIFT * x, *row_1, _SHIFT * y, *light, _BLUR_PX * blur, _NOISE * noise]
    return np.array(numbers, dtype=np.float32)
