"""The eight ways to lay a picture down: flips and quarter turns, with which epoch shows which image how.

No pixel is resampled, so a turned mask fits its turned image exactly, and the features of each variant can be cached.
"""

import hashlib
from enum import IntEnum

import numpy as np
from jaxtyping import Shaped

from tune_sa2va.config import Augment


class Variant(IntEnum):
    """Mirrored left to right or not, then turned counter-clockwise by so many degrees."""

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
        """Counter-clockwise, after the mirror."""
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
    """Every way in which `augment` may show an image; each setting holds those of the ones before it."""
    return _VARIANTS[augment]


def variant_in(augment: Augment, *, seed: int, epoch: int, image: str) -> Variant:
    """How epoch `epoch` shows an image: each way as likely, the same in every run. image: any fixed name of it."""
    digest = hashlib.sha256(f"{seed} {epoch} {image}".encode()).digest()
    choices = _VARIANTS[augment]
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]


def laid_out(pixels: Shaped[np.ndarray, "H W *C"], variant: Variant) -> Shaped[np.ndarray, "h w *C"]:
    """A picture or mask as `variant` shows it; height and width change places in quarter turns."""
    mirrored = pixels[:, ::-1] if variant.is_mirrored else pixels
    return np.ascontiguousarray(np.rot90(mirrored, variant.quarter_turns))
