"""Decodes the one picture of a file, with a decoder that reads its layout correctly.

- Only the decoders of JPEG, PNG, TIFF, BMP, GIF and PPM are ever started, whatever a file's name says. Data sets are
  downloaded from strangers, and Pillow's other decoders run interpreters (EPS) or are rarely fuzzed. DICOM files are
  recognised by their ending and go to pydicom. Packed Netpbm files are recognised by their ending, too; they are
  unpacked in memory, up to the size of the largest picture.
- The size in the header is checked against `MAX_PIXELS` before a pixel is decoded.
- A file with several pages or frames is refused: which one the mask belongs to would be a guess.
- Pillow (13.0) silently misreads some layouts of TIFF: in colour that is stored plane by plane with 16 bits, it takes
  each byte for a pixel. tifffile reads these; planes of grey with alpha are refused.
"""

import gzip
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from tune_sa2va.data.dicom import dicom_size, frames_of
from tune_sa2va.data.endings import DICOM_SUFFIXES, PACKED_SUFFIXES, image_ending
from tune_sa2va.errors import DataError, DataGoneError

MAX_PIXELS = 2**26
"""Largest height x width that is decoded: 67 million pixels (8192 x 8192), 0.2 GB as RGB."""

_DECODERS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "PPM")
_QUARTER_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation
_WHITE_IS_ZERO = 0  # value of TIFF's PhotometricInterpretation
_IN_PLANES = 2  # value of TIFF's PlanarConfiguration


def decode(path: Path) -> Image.Image:
    """The file's picture, upright, in its stored mode; `info["white_is_zero"]` is set where 16-bit grey is inverted.

    Raises:
        DataGoneError: there is no such file, or the system cannot read it.
        DataError: not a readable image, too large, truncated, several pages.
    """
    if not path.is_file():
        raise DataGoneError(f"{path}: there is no such file. Put it back.")
    if path.suffix.lower() in DICOM_SUFFIXES:
        return _only_frame(path)
    try:
        # As an open file, not by name: Pillow (13.0) maps a named TIFF into memory, and where its orientation is a
        # quarter turn, swaps height and width too early and shears the picture.
        with _opened(path) as file, Image.open(file, formats=_DECODERS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(path, f"{width} x {height} pixels")
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise DataError(f"{path}: holds {frames} pages. Save each page as a file of its own.")
            if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_misread(image):
                return ImageOps.exif_transpose(_from_planes(path, image))
            if image.mode == "I;16B":  # Pillow can transpose and compare only native integers
                return ImageOps.exif_transpose(image.convert("I"))
            image.load()
            upright = ImageOps.exif_transpose(image)
            if image.mode == "I;16" and _is_white_zero(image):  # Pillow inverts 8-bit files itself, not 16-bit ones
                upright.info["white_is_zero"] = True
            return upright
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, f"more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more on broken files
        raise _unreadable(path, error) from error


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture in pixels, from the file's header alone.

    Raises:
        DataError: not an image.
    """
    if path.suffix.lower() in DICOM_SUFFIXES:
        return dicom_size(path)[1:]
    try:
        with _opened(path) as file, Image.open(file, formats=_DECODERS) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # `size` of a TIFF is already turned
                width, height = image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _QUARTER_TURNED
    except DataError:
        raise
    except Exception as error:  # as in `decode`
        raise _unreadable(path, error) from error
    return (width, height) if is_turned else (height, width)


def _opened(path: Path) -> BinaryIO:
    """The file's bytes, unpacked if its ending is that of a packed file.

    Raises:
        DataError: it unpacks to more bytes than the largest picture has.
    """
    if image_ending(path) not in PACKED_SUFFIXES:
        return path.open("rb")
    most = 6 * MAX_PIXELS  # 16-bit RGB
    with gzip.open(path) as packed:
        content = packed.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path}: unpacks to more than {MAX_PIXELS} pixels (8192 x 8192) need. Scale the image down.")
    return io.BytesIO(content)


def _only_frame(path: Path) -> Image.Image:
    if (number := dicom_size(path)[0]) > 1:
        raise DataError(
            f"{path}: holds {number} frames. Save each as a picture: python -m tune_sa2va.data frames FILES --to DIR."
        )
    return Image.fromarray(next(frames_of(path)))


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.errno is not None:  # an error of the system, not of a decoder
        return DataGoneError(f"{path}: cannot be read ({error.strerror}). Put it back.")
    return DataError(f"{path}: cannot be read as an image ({error}). Save it again as PNG, or remove it.")


def _too_large(path: Path, announced: str) -> DataError:
    return DataError(
        f"{path}: the header announces {announced}; at most {MAX_PIXELS} (8192 x 8192) are read. Scale the image down."
    )


def _is_white_zero(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO


def _is_misread(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether Pillow would misread the file's planes: values of more than a byte, or alpha after grey."""
    tags = image.tag_v2
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) != _IN_PLANES:
        return False
    bits = set(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    samples = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    return samples > 1 and (bits != {8} or samples == 2)


def _from_planes(path: Path, image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """16-bit RGB or RGBA in planes, reduced to the high byte of each value, as Pillow does for 16-bit pixels."""
    tags = image.tag_v2
    samples, bits = tags.get(TiffImagePlugin.SAMPLESPERPIXEL), set(tags.get(TiffImagePlugin.BITSPERSAMPLE, ()))
    if samples not in (3, 4) or bits != {16}:
        raise DataError(
            f"{path}: is a TIFF with {samples} planes of {', '.join(map(str, sorted(bits)))} bits, which is not read. "
            'Save it with its samples side by side (planarconfig="contig"), or as PNG.'
        )
    with tifffile.TiffFile(path) as file:
        planes = file.pages[0].asarray()
    # Not image.size, which is already turned by the orientation.
    as_stored = (tags.get(TiffImagePlugin.IMAGELENGTH), tags.get(TiffImagePlugin.IMAGEWIDTH))
    if planes.shape != (samples, *as_stored) or planes.dtype != np.uint16:
        raise DataError(f"{path}: its planes are not what its header announces. Save it again as PNG.")
    pixels: UInt8[np.ndarray, "H W samples"] = np.ascontiguousarray(np.moveaxis(planes >> 8, 0, -1).astype(np.uint8))
    upright = Image.fromarray(pixels)
    upright.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return upright
