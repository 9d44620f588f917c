"""Pictures and masks as the content of a PNG file."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def to_png(values: UInt8[np.ndarray, "H W ..."]) -> bytes:
    """Grey values, or RGB in a last dimension of 3."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()
