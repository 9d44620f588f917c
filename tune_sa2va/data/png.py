"""Encodes pictures and masks as PNG."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def to_png(values: UInt8[np.ndarray, "H W ..."]) -> bytes:
    """The content of a PNG file. values: grey (H, W), or RGB (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()
