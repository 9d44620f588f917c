"""Loads image and mask files as arrays.

Files come from microscopes, fundus cameras, angiography exports and annotation tools. They may be 8- or 16-bit grey,
colour, palette, 1-bit, CMYK or have transparency; images are returned as RGB, masks as booleans. A file that cannot be
used raises `DataError` (a mask with in-between values: `NotTwoValuedError`), whatever the decoder raised.

- Images and masks are turned upright by their EXIF orientation; polygons are in pixels of the upright image.
- Transparent pixels become black, like the surround of angiograms and fundus photographs, so that what a file hides
  stays hidden. A picture that is transparent everywhere is refused.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped, UInt8, UInt32
from PIL import Image

from tune_sa2va.data.decoding import decode
from tune_sa2va.errors import DataError

_RED_GREEN_BLUE = 0xFFFFFF  # the code of white
# Bit depths of detectors. A picture is scaled by the smallest that holds its largest value.
_GREY_BITS = (8, 10, 12, 14, 16)
_MOST_LABELS, _NAMED = 300, 5


class NotTwoValuedError(DataError):
    """A mask file holds more than two values."""


class UnknownLabelError(DataError):
    """A label map holds a value that has no label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """pixels: RGB in [0, 255], upright. scale_bits: bits whose full scale became 255; None for 8-bit pictures."""

    pixels: UInt8[np.ndarray, "H W 3"]
    scale_bits: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFile:
    """mask: True where the target is.

    shown_as: the value that stands for it, as `255` or `#ff0000` (greys by their value); None if the mask is empty.
    """

    mask: Bool[np.ndarray, "H W"]
    shown_as: str | None


def load_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """The picture as RGB in [0, 255], upright: `pixels` of `load_picture`.

    Raises:
        DataError: as `load_picture`.
    """
    return load_picture(path).pixels


def load_picture(path: Path) -> Picture:
    """The picture as RGB, upright. Grey becomes three equal channels.

    Grey of more than 8 bits is scaled linearly: full scale is the smallest of 8, 10, 12, 14 and 16 bits that holds the
    largest value, and becomes 255. So a 12-bit angiogram in a 16-bit file keeps its contrast, where 16-bit scaling
    would leave it almost black. It is not stretched to its own maximum, so that frames of one series from one detector
    keep their relative brightness; `check` warns where the frames of a series are on different scales. Of 16-bit colour
    the high byte is used (Pillow reads no more).

    Raises:
        DataError: not a readable image, too large, truncated, several pages, transparent everywhere, negative or
            fractional grey values.
    """
    image = decode(path)
    if image.mode.startswith(("I", "F")):
        grey_HW, scale_bits = _deep_grey_to_8_bits(path, image)
        return Picture(pixels=np.repeat(grey_HW[..., None], 3, axis=2), scale_bits=scale_bits)
    if _is_hidden(image):
        raise DataError(
            f"{path}: the alpha channel makes every pixel transparent, so there is no picture. Save it without alpha."
        )
    pixels = np.array(_flat_rgb(path, image))  # a copy: torch warns of the read-only view that asarray gives
    return Picture(pixels=pixels, scale_bits=None)


def load_mask_file(path: Path) -> MaskFile:
    """The mask of a file, and which of its values was taken for vessel.

    A mask has at most two distinct values (colours, in palette and colour files), such as 0/1, 0/255 or black/red. The
    brighter one is vessel. A file with a single value is empty if that value is zero (black), else all vessel. Grey of
    any depth is compared as stored, without scaling.

    Raises:
        NotTwoValuedError: more than two values, such as JPEG's in-between greys.
        DataError: not a readable image, too large, truncated, several pages, or a mask hidden by its alpha channel.
    """
    image = decode(path)
    if image.mode.startswith(("I", "F")):
        values_HW = np.asarray(image)
        if image.info.get("white_is_zero"):
            values_HW = 2 ** _GREY_BITS[-1] - 1 - values_HW
    elif image.mode in ("1", "L"):
        values_HW = np.asarray(image.convert("L"))
    else:
        if _is_hidden(image) and np.ptp(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).any():
            raise DataError(f"{path}: the alpha channel hides every pixel of the mask. Save it without alpha.")
        codes_HW = _colour_codes(_flat_rgb(path, image))
        mask_HW = _split_two_values(path, _brighter_is_higher(codes_HW))
        return MaskFile(mask=mask_HW, shown_as=_first(codes_HW, mask_HW, colour_name))
    mask_HW = _split_two_values(path, values_HW)
    return MaskFile(mask=mask_HW, shown_as=_first(values_HW, mask_HW, "{:g}".format))


def load_label_mask(path: Path, values: Collection[str], known: Collection[str]) -> Bool[np.ndarray, "H W"]:
    """True where the label map holds one of `values`, upright.

    values, known: as `colour_name` writes them. Pixels of a palette file are compared by index if all of `known` are
    numbers, else by colour.

    Raises:
        UnknownLabelError: a pixel holds a value that is not in `known`.
        DataError: not a readable image, too large, truncated, several pages, fractional values.
    """
    image = decode(path)
    by_index = image.mode == "P" and not any(value.startswith("#") for value in known)
    if by_index or image.mode in ("L", "1") or image.mode.startswith(("I", "F")):
        values_HW = np.asarray(image.convert("L") if image.mode == "1" else image)
        name: Callable[[Any], str] = "{:g}".format
    else:
        values_HW, name = _colour_codes(_flat_rgb(path, image)), colour_name
    found, places = np.unique(values_HW, return_inverse=True)
    names = [name(value) for value in found[: _MOST_LABELS + 1].tolist()]
    if len(found) > _MOST_LABELS or (strange := [each for each in names if each not in known]):
        said = f"{len(found)} values" if len(found) > _MOST_LABELS else f"the values {', '.join(strange[:_NAMED])}"
        raise UnknownLabelError(
            f"{path}: holds {said}, which have no label (labels: {', '.join(sorted(known)[:_NAMED])}, ...). Name them, "
            "or correct the file (JPEG and smooth scaling make in-between values)."
        )
    is_shown = np.array([each in values for each in names], dtype=bool)
    return is_shown[places].reshape(values_HW.shape)


def colour_name(code: int) -> str:
    """`#ff0000` for a colour's code (blue in the highest byte); the value alone for a grey."""
    red, green, blue = int(code).to_bytes(4, "little")[:3]
    return str(red) if red == green == blue else f"#{red:02x}{green:02x}{blue:02x}"


def _first(
    values_HW: Shaped[np.ndarray, "H W"], mask_HW: Bool[np.ndarray, "H W"], name: Callable[[Any], str]
) -> str | None:
    """The name of the value of the first pixel in the mask; None if the mask is empty."""
    return name(values_HW.flat[mask_HW.argmax()]) if mask_HW.any() else None


def _is_hidden(image: Image.Image) -> bool:
    """Whether the alpha channel hides every pixel."""
    return image.has_transparency_data and not np.asarray(image.convert("RGBA"))[..., 3].any()


def _deep_grey_to_8_bits(path: Path, image: Image.Image) -> tuple[UInt8[np.ndarray, "H W"], int]:
    """Grey scaled to [0, 255], and the bits of its scale."""
    values_HW = np.asarray(image)
    if values_HW.dtype.kind == "f":
        raise DataError(f"{path}: has fractional grey values. Save it with 8 or 16 bits.")
    low, high = int(values_HW.min()), int(values_HW.max())
    if low < 0 or high >= 2 ** _GREY_BITS[-1]:
        raise DataError(f"{path}: grey values must be in [0, 65535], got {low} to {high}. Save it with 8 or 16 bits.")
    scale_bits = next(bits for bits in _GREY_BITS if high < 2**bits)
    full_scale = 2**scale_bits - 1
    scaled = np.rint(np.arange(full_scale + 1) * (255.0 / full_scale)).astype(
        np.uint8
    )  # a table: 1 byte a pixel, not 8
    if image.info.get("white_is_zero"):
        scaled = 255 - scaled
    return scaled[values_HW], scale_bits


def _flat_rgb(path: Path, image: Image.Image) -> Image.Image:
    """An 8-bit picture of any mode as RGB, with transparent pixels laid over black."""
    try:
        if image.has_transparency_data:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")
    except ValueError as error:  # LAB and other modes without a conversion
        raise DataError(f"{path}: colours of mode {image.mode} cannot be read. Save it as RGB.") from error


def _colour_codes(image: Image.Image) -> UInt32[np.ndarray, "H W"]:
    """One number for each colour, black 0."""
    rgba = np.asarray(image.convert("RGBA"))
    return rgba.view("<u4")[..., 0] & np.uint32(_RED_GREEN_BLUE)


def _brighter_is_higher(codes_HW: UInt32[np.ndarray, "H W"]) -> UInt32[np.ndarray, "H W"]:
    """The codes, or if the lowest code is the brighter colour, each subtracted from white."""
    low, high = (int(codes_HW.min()), int(codes_HW.max()))
    return _RED_GREEN_BLUE - codes_HW if _brightness(low) > _brightness(high) else codes_HW


def _brightness(code: int) -> int:
    return sum(code.to_bytes(3, "little"))


def _split_two_values(path: Path, values_HW: Shaped[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    # min and max, not np.unique: the common case needs no sort of 67 million values
    low, high = values_HW.min(), values_HW.max()
    if low == high:
        return np.full(values_HW.shape, bool(high != 0))
    mask_HW = values_HW == high
    if not np.all(mask_HW | (values_HW == low)):
        raise NotTwoValuedError(
            f"{path}: a mask has two values, got {len(np.unique(values_HW))}. Threshold it and save it as PNG "
            "(JPEG and smooth scaling make in-between values), or name its labels: --labels 1=artery,2=vein."
        )
    return mask_HW
