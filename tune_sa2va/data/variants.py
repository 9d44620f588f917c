"""The eight variants of a picture under flips and quarter turns, and which variant an epoch shows.

No pixel is resampled, so a turned mask fits its turned image exactly, and the features of each variant can be cached.
"""

import hashlib
from enum import IntEnum

import numpy as np
from jaxtyping import Shaped

from tune_sa2va.config import Augment


class Variant(IntEnum):
    """Mirrored left to right or not, then turned counter-clockwise by the degrees in its name."""

    AS_IS = 0
    TURNED_90 = 1
    TURNED_180 = 2
    TURNED_270 = 3
    MIRRORED = 4
    MIRRORED_TURNED_90 = 5
    MIRRORED_TURNED_180 = 6
    MIRRORED_TURNED_270 = 7

    @property
    def quarter_turns(self) -> int:
        """Number of counter-clockwise quarter turns, after the mirroring."""
        return self.value % 4

    @property
    def is_mirrored(self) -> bool:
        return self.value >= 4


_VARIANTS: dict[Augment, tuple[Variant, ...]] = {
    "none": (Variant.AS_IS,),
    # Upside down is mirrored and turned by 180 degrees.
    "flips": (Variant.AS_IS, Variant.TURNED_180, Variant.MIRRORED, Variant.MIRRORED_TURNED_180),
    "flips_turns": tuple(Variant),
}


def variants_of(augment: Augment) -> tuple[Variant, ...]:
    """Every variant that `augment` may show; each setting includes the variants of the ones before it."""
    return _VARIANTS[augment]


def variant_in(augment: Augment, *, seed: int, epoch: int, image: str) -> Variant:
    """The variant of an image that epoch `epoch` shows: uniformly drawn, and the same in every run.

    image: any fixed identifier of the image.
    """
    digest = hashlib.sha256(f"{seed} {epoch} {image}".encode()).digest()
    choices = _VARIANTS[augment]
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]


def laid_out(pixels: Shaped[np.ndarray, "H W *C"], variant: Variant) -> Shaped[np.ndarray, "h w *C"]:
    """A picture or mask as `variant` shows it; turns by 90 and 270 degrees swap height and width."""
    mirrored = pixels[:, ::-1] if variant.is_mirrored else pixels
    return np.ascontiguousarray(np.rot90(mirrored, variant.quarter_turns))
