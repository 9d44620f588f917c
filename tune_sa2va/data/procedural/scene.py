"""`Scene`, which every family renders: an image, and a mask for each text that a question can ask for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]
# float32 at run time; NumPy's stubs lose the width in mixed arithmetic.
Field = NDArray[np.floating[Any]]

VESSEL = "blood vessel"
"""The text of the vessel mask, which all families share."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One synthetic image with its truths.

    image: uint8 (size, size, 3), RGB.
    masks: text -> bool (size, size). The text is what a question asks for ("blood vessel", "catheter", "dark circle").
        Only non-empty masks are kept, so every text has an answer.
    """

    image: Image8
    masks: dict[str, Mask]


def non_empty(masks: dict[str, Mask], least_px: int = 12) -> dict[str, Mask]:
    """The masks of at least `least_px` pixels; smaller ones are not worth learning."""
    return {text: mask for text, mask in masks.items() if int(np.count_nonzero(mask)) >= least_px}
