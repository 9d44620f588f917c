"""Image and mask files as arrays, and polygons as masks.

Files come from microscopes, fundus cameras, angiography exports and annotation tools, so the same picture may arrive as
8- or 16-bit grey, colour, palette, 1-bit, CMYK or with transparency; everything here ends as RGB or as True/False. A
file that cannot be used raises `DataError` (a mask with in-between values: `NotTwoValuedError`), whatever the decoder
raised.

Decisions that a reader should know:
- Only JPEG, PNG, TIFF and BMP decoders are ever started, whatever a file's name says; the others in Pillow run
  interpreters (EPS) or are rarely fuzzed, and data sets are downloaded from strangers.
- The size in the header is checked against `MAX_PIXELS` before a pixel is decoded.
- Images and masks are turned upright by their EXIF orientation; polygons are in pixels of the upright image.
- Transparent pixels are laid over black, the surround of angiograms and fundus photographs, so what a file hides stays
  hidden. A TIFF with several pages is refused: which page the mask belongs to would be a guess.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt32
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from tune_sa2va.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""File name endings that we read, in lower case."""

MAX_PIXELS = 2**26
"""Largest height x width that is decoded (67 million pixels, 8192 x 8192: 0.2 GB as RGB)."""

_DECODERS = ("JPEG", "PNG", "TIFF", "BMP")
_QUARTER_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation
_CROSSINGS_AT_ONCE = 2**22
_RED_GREEN_BLUE = 0xFFFFFF  # white, as a colour's code
_WHITE_IS_ZERO = 0  # value of TIFF's PhotometricInterpretation
# Detectors count in these; a picture is scaled by the smallest that holds its largest value.
_GREY_BITS = (8, 10, 12, 14, 16)


class NotTwoValuedError(DataError):
    """A mask file holds more than two values."""


def load_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """The picture as RGB in [0, 255], upright. Grey becomes three equal channels.

    Grey of more than 8 bits is scaled linearly by its value range: full scale is the smallest of 8, 10, 12, 14 and 16
    bits that holds the largest value, and goes to 255. So 65535 becomes 255, and a 12-bit angiogram in a 16-bit file,
    which 16-bit scaling would leave almost black, keeps its contrast. It is not stretched to its own maximum: frames of
    one series from one detector keep their relative brightness. 16-bit colour is read by its high byte (Pillow offers
    no more).

    Raises:
        DataError: not a readable image, too large, truncated, several pages, negative or fractional grey values.
    """
    image = _decode(path)
    if image.mode.startswith(("I", "F")):
        grey_HW = _deep_grey_to_8_bits(path, image)
        return np.repeat(grey_HW[..., None], 3, axis=2)
    return np.array(_flat_rgb(path, image))  # a copy: asarray would give a read-only view, which torch warns of


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture in pixels, from the file's header alone.

    Raises:
        DataError: not an image.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=_DECODERS) as image:
            width, height = image.size
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _QUARTER_TURNED
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more on broken files
        raise DataError(f"{path}: cannot be read as an image ({error}). Save it again as PNG, or remove it.") from error
    return (width, height) if is_turned else (height, width)


def load_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """True where the mask file shows vessel, upright.

    A mask has at most two distinct values (in palette and colour files: colours), whatever they are: 0/1, 0/255,
    black/red. The brighter of two is vessel. A file of one value is empty where that value is zero (black), else all
    vessel. Grey of any depth is compared as stored, without scaling.

    Raises:
        NotTwoValuedError: more than two values, such as JPEG's in-between greys.
        DataError: not a readable image, too large, truncated, several pages.
    """
    image = _decode(path)
    if image.mode.startswith(("I", "F")):
        values_HW = np.asarray(image)
        if image.info.get("white_is_zero"):
            values_HW = 2 ** _GREY_BITS[-1] - 1 - values_HW
    elif image.mode in ("1", "L"):
        values_HW = np.asarray(image.convert("L"))
    else:
        values_HW = _colour_codes(_flat_rgb(path, image))
        low, high = (int(values_HW.min()), int(values_HW.max()))
        if _brightness(low) > _brightness(high):
            values_HW = _RED_GREEN_BLUE - values_HW
    return _split_two_values(path, values_HW)


def rasterise(polygons: Sequence[Sequence[float]], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The union of `polygons`, each a flat (x1, y1, x2, y2, ...) in pixels, closed by itself.

    As in COCO, whose tools Sa2VA's reference data set uses: pixel (row, column) covers [column, column + 1) x
    [row, row + 1) and is in when its centre is inside, by the even-odd rule. Parts outside height x width are cut off.
    """
    mask_HW = np.zeros((height, width), dtype=bool)
    for outline in polygons:
        x0, y0 = np.asarray(outline, dtype=np.float64).reshape(-1, 2).T
        # In bands of rows: each edge may cross each row, and all crossings at once would fill the memory.
        rows = max(1, _CROSSINGS_AT_ONCE // max(len(x0), width + 1))
        top = int(np.clip(np.ceil(y0.min(initial=height) - 0.5), 0, height))
        bottom = int(np.clip(np.ceil(y0.max(initial=0) - 0.5), 0, height))
        for start in range(top, bottom, rows):
            stop = min(start + rows, bottom)
            mask_HW[start:stop] |= _inside(x0, y0, start, stop, width)
    return mask_HW


def _inside(
    x0: Float[np.ndarray, " N"], y0: Float[np.ndarray, " N"], start: int, stop: int, width: int
) -> Bool[np.ndarray, "R W"]:
    """Which pixels of the rows from `start` up to `stop` lie inside the outline with the corners (x0, y0)."""
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    # The rows whose centre line each edge crosses; half open, so a corner on a centre line is counted once.
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), start, stop).astype(int)
    rows_of_edge = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), start, stop).astype(int) - first
    edge = np.repeat(np.arange(len(x0)), rows_of_edge)
    row = first[edge] + np.arange(len(edge)) - (np.cumsum(rows_of_edge) - rows_of_edge)[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    # A pixel is inside when the number of edges at or left of its centre is odd.
    crossings = np.bincount((row - start) * (width + 1) + column, minlength=(stop - start) * (width + 1))
    return np.cumsum(crossings.reshape(stop - start, width + 1)[:, :width], axis=1) % 2 == 1


def _decode(path: Path) -> Image.Image:
    """The first and only picture of a file, decoded and upright, in the mode it is stored in."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        # Opened here and not by name: Pillow (13.0) maps a named TIFF into memory with height and width swapped where
        # its orientation turns it, and shears the picture.
        with path.open("rb") as file, Image.open(file, formats=_DECODERS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(path, f"{width} x {height} pixels")
            if isinstance(image, TiffImagePlugin.TiffImageFile) and image.n_frames > 1:
                raise DataError(f"{path}: holds {image.n_frames} pages. Save each page as a file of its own.")
            if image.mode == "I;16B":  # Pillow turns and compares native integers only
                return ImageOps.exif_transpose(image.convert("I"))
            image.load()
            upright = ImageOps.exif_transpose(image)
            if image.mode == "I;16" and _is_white_zero(image):  # Pillow inverts 8-bit files itself, but not these
                upright.info["white_is_zero"] = True
            return upright
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, f"more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more on broken files
        raise DataError(f"{path}: cannot be read as an image ({error}). Save it again as PNG, or remove it.") from error


def _too_large(path: Path, announced: str) -> DataError:
    return DataError(
        f"{path}: the header announces {announced}; at most {MAX_PIXELS} (8192 x 8192) are read. Scale the image down."
    )


def _is_white_zero(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO


def _deep_grey_to_8_bits(path: Path, image: Image.Image) -> UInt8[np.ndarray, "H W"]:
    values_HW = np.asarray(image)
    if values_HW.dtype.kind == "f":
        raise DataError(f"{path}: has fractional grey values. Save it with 8 or 16 bits.")
    low, high = int(values_HW.min()), int(values_HW.max())
    if low < 0 or high >= 2 ** _GREY_BITS[-1]:
        raise DataError(f"{path}: grey values must be in [0, 65535], got {low} to {high}. Save it with 8 or 16 bits.")
    full_scale = next(2**bits - 1 for bits in _GREY_BITS if high < 2**bits)
    scaled = np.rint(np.arange(full_scale + 1) * (255.0 / full_scale)).astype(
        np.uint8
    )  # a table: 1 byte a pixel, not 8
    if image.info.get("white_is_zero"):
        scaled = 255 - scaled
    return scaled[values_HW]


def _flat_rgb(path: Path, image: Image.Image) -> Image.Image:
    """RGB of an 8-bit picture of any mode, laid over black where it is transparent."""
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


def _brightness(code: int) -> int:
    return sum(code.to_bytes(3, "little"))


def _split_two_values(path: Path, values_HW: Shaped[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    # min and max instead of np.unique: no sort of 67 million values for the common case
    low, high = values_HW.min(), values_HW.max()
    if low == high:
        return np.full(values_HW.shape, bool(high != 0))
    mask_HW = values_HW == high
    if not np.all(mask_HW | (values_HW == low)):
        raise NotTwoValuedError(
            f"{path}: a mask has two values, got {len(np.unique(values_HW))}. Threshold it and save it as PNG "
            "(JPEG and smooth scaling make in-between values)."
        )
    return mask_HW
