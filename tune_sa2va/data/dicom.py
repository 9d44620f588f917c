"""Reads frames of DICOM files (with pydicom, the extra `dicom`) as 8-bit pictures, with the window that the file gives.

Only pixels are taken from a file: no tag is copied, and written pictures are named by the code of the file's content.
Patients are numbered in the order of the files. A file holds one frame or many, as XA series do. Values go through the
modality's rescale, then the first window of the file (DICOM PS3.3, C.11.2.1.2) or its VOI table. Without either, the
range of the stored bits is mapped to 0 to 255. MONOCHROME1 is inverted.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from tune_sa2va.data.codes import file_code
from tune_sa2va.data.endings import DICOM_SUFFIXES
from tune_sa2va.data.png import to_png
from tune_sa2va.errors import DataError, UserError

IMAGES, GROUPS_FILE = "images", "patients.csv"

_MAX_PIXELS, _MAX_FRAMES = 2**26, 100_000


def dicom_size(path: Path) -> tuple[int, int, int]:
    """(frames, height, width) from the header alone.

    Raises:
        DataError: pydicom is not installed, or the file has no picture that can be read.
    """
    return _size(path, _header(path))


def frames_of(path: Path) -> Iterator[UInt8[np.ndarray, "H W *C"]]:
    """Each frame in turn, values in [0, 255]: grey (H, W), or RGB (H, W, 3).

    Raises:
        DataError: as `dicom_size`, or the pixels cannot be decoded.
    """
    header = _header(path)
    frames, height, width = _size(path, header)
    from pydicom.pixels import iter_pixels

    number = 0
    try:
        for pixels in iter_pixels(path):
            number += 1
            yield _to_8_bits(pixels, header)
    except Exception as error:  # pydicom's plugins raise what their decoders raise
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: its pixels cannot be decoded ({reason}). Export it uncompressed, or install pylibjpeg."
        ) from error
    if number != frames or not (height and width):
        raise DataError(f"{path}: announces {frames} frames and holds {number}. Export it again.")


def write_frames(sources: Sequence[Path], to: Path) -> tuple[int, int]:
    """Writes the frames of all DICOM files in `sources` (files, and folders with all below them) as PNG to `to`/images.

    The frames of a file are named CODE_frame_000001.png and so on, so that they form one group. `to`/patients.csv has
    a number for each patient, by the files' PatientID (by file where it is empty); --group-by takes it. Returns the
    number of files and the number of frames. A file that is given twice counts once.

    Raises:
        UserError: `to` is not empty or cannot be written, or no source is a DICOM file.
        DataError: a file cannot be read.
    """
    files = [path for source in sources for path in _files(source)]
    if not files:
        raise UserError(f"no DICOM file ({', '.join(sorted(DICOM_SUFFIXES))}) is there. Give files or folders.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"--to {to}: exists already. Give a new or an empty folder.")
    patients: dict[str, int] = {}
    rows, seen = [("name", "patient")], set[str]()
    try:
        (to / IMAGES).mkdir(parents=True)
        for file in files:
            code = file_code(file).removeprefix("file-")
            if code in seen:  # the same file again
                continue
            seen.add(code)
            known = _patient(file) or code
            patient = f"patient-{patients.setdefault(known, len(patients) + 1):04}"
            for number, frame in enumerate(frames_of(file), start=1):
                name = f"{code}_frame_{number:06}.png"
                (to / IMAGES / name).write_bytes(to_png(frame))
                rows.append((name, patient))
        table = io.StringIO()
        csv.writer(table).writerows(rows)
        (to / GROUPS_FILE).write_text(table.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written ({error.strerror}). Give another folder.") from error
    return len(seen), len(rows) - 1


def _patient(path: Path) -> str:
    header = _header(path)
    try:
        return str(header.get("PatientID", "") or "")
    except Exception as error:  # as in `_size`
        raise DataError(f"{path}: has no PatientID that can be read. Export it again.") from error


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.suffix.lower() in DICOM_SUFFIXES and path.is_file())
    if not source.is_file():
        raise DataError(f"{source}: there is no such file or folder. Check the path.")
    return [source]


def _header(path: Path) -> Any:
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise DataError(f"{path}: DICOM needs the package pydicom. Install it: pip install pydicom.") from error
    try:
        return dcmread(path, stop_before_pixels=True)
    except Exception as error:  # a broken file can raise anything
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as DICOM ({reason}). Export it again.") from error


def _size(path: Path, header: Any) -> tuple[int, int, int]:
    try:
        size = tuple(int(header.get(tag, 0) or 0) for tag in ("Rows", "Columns"))
        frames = int(header.get("NumberOfFrames", 1) or 1)
    except Exception as error:  # pydicom decodes values on access, and broken bytes can raise anything
        raise DataError(f"{path}: has no size that can be read. Export it again.") from error
    height, width = size
    if height <= 0 or width <= 0 or frames <= 0:
        raise DataError(f"{path}: holds no picture (reports and plans are DICOM, too). Leave it out.")
    if height * width > _MAX_PIXELS or frames > _MAX_FRAMES:
        raise DataError(f"{path}: announces {frames} frames of {width} x {height} pixels. That is more than is read.")
    return frames, height, width


def _to_8_bits(pixels: Shaped[np.ndarray, "H W *C"], header: Any) -> UInt8[np.ndarray, "H W *C"]:
    if pixels.ndim == 3:  # RGB has no window
        bits = int(header.get("BitsStored", 8))
        return np.ascontiguousarray((pixels >> max(0, bits - 8)).astype(np.uint8))
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = np.asarray(apply_modality_lut(pixels, header), dtype=np.float64)
    if header.get("VOILUTSequence"):
        looked_up = np.asarray(apply_voi(values.astype(np.int64), header), dtype=np.float64)
        shares = looked_up / max(1.0, 2.0 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif header.get("WindowWidth") is not None and header.get("WindowCenter") is not None:
        shares = _windowed(values, header)
    else:
        lowest, highest = _stored_range(header)
        shares = (values - lowest) / (highest - lowest)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        shares = 1.0 - shares
    grey: UInt8[np.ndarray, "H W"] = np.rint(255 * shares.clip(0.0, 1.0)).astype(np.uint8)
    return grey


def _windowed(values: Float[np.ndarray, "H W"], header: Any) -> Float[np.ndarray, "H W"]:
    centre, width = (_first(header[tag].value) for tag in ("WindowCenter", "WindowWidth"))
    match str(header.get("VOILUTFunction", "LINEAR")):
        case "SIGMOID":
            return np.asarray(1 / (1 + np.exp((-4 * (values - centre) / max(width, 1e-9)).clip(-500, 500))))
        case "LINEAR_EXACT":
            return np.asarray((values - centre) / max(width, 1e-9) + 0.5)
        case _:
            return np.asarray((values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5)


def _first(value: Any) -> float:
    """The first of a file's windows, with which viewers open it."""
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


def _stored_range(header: Any) -> tuple[float, float]:
    """(lowest, highest) value that the stored bits can hold, after the rescale."""
    bits, is_signed = int(header.get("BitsStored", 16)), bool(header.get("PixelRepresentation", 0))
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    slope, intercept = float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)
    ends = sorted((lowest * slope + intercept, highest * slope + intercept))
    return ends[0], ends[1]
