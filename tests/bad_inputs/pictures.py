"""Image and mask files that cannot be used, in a data set that is sound otherwise."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.data.making import picture, png_header_of, rectangle_mask, save, save_pair

from .case import Case

_SIDE = 64


def _case(name: str, damage: Callable[[Path, Path], object], *says: str) -> Case:
    """damage: gets the paths of an image and of its mask."""

    def make(folder: Path) -> list[str]:
        data = folder / "data"
        for number, stem in enumerate(("good", "bad")):
            save_pair(data, f"{stem}.png", number)
        damage(data / "images" / "bad.png", data / "masks" / "bad.png")
        return ["data", "check", str(data), "--show-names"]

    return Case(name=f"picture: {name}", make=make, says=("bad", *says), exit_code=1)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _as_tiff(path: Path, values: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), values, **options)
    path.with_suffix(".tif").replace(path)


def _as_format(path: Path, kind: str) -> None:
    Image.fromarray(picture(1)).save(path, format=kind)


def _png_with(path: Path, kind: bytes, data: bytes) -> None:
    """Puts a chunk behind the header."""
    content = path.read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content[:33] + chunk + content[33:])


def _tiff_announcing(path: Path, side: int) -> None:
    """A TIFF of one strip that announces side x side pixels and holds eight bytes."""
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries + bytes(4))


def _bmp_announcing(path: Path, side: int) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header)


def _hidden() -> np.ndarray:
    return np.dstack([picture(0), picture(1), picture(2), np.zeros((24, 32), np.uint8)])


def _planes(path: Path) -> None:
    options = {"planarconfig": "separate", "extrasamples": ["unassalpha"], "compression": "zlib"}
    _as_tiff(path, np.stack([picture(0), picture(1)]), photometric="minisblack", **options)


def _dicom(path: Path, content: bytes) -> None:
    path.unlink()
    path.with_suffix(".dcm").write_bytes(content)


def _two(path: Path) -> None:
    save(path, rectangle_mask((2, 3, 10, 5)).astype(np.uint8) * 2)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


PICTURES = [
    _case("cut off", lambda image, _: _cut(image), "unreadable image", "Save it again as PNG, or remove it"),
    _case("empty file", lambda image, _: image.write_bytes(b""), "unreadable image", "remove it"),
    _case("text", lambda image, _: image.write_text("no picture"), "unreadable image", "remove it"),
    _case(
        "a WebP by another name", lambda image, _: _as_format(image, "WEBP"), "unreadable image", "Save it again as PNG"
    ),
    _case("PostScript by another name", lambda image, _: _as_format(image, "EPS"), "Save it again as PNG"),
    _case("huge PNG", lambda image, _: image.write_bytes(png_header_of(60_000, 60_000)), "Scale the image down"),
    _case(
        "huge TIFF", lambda image, _: _tiff_announcing(image, 60_000), "the header announces", "Scale the image down"
    ),
    _case("huge BMP", lambda image, _: _bmp_announcing(image, 60_000), "the header announces", "Scale the image down"),
    _case("large TIFF of no content", lambda image, _: _tiff_announcing(image, 8_000), "Save it again as PNG"),
    _case("no pixels", lambda image, _: image.write_bytes(png_header_of(0, 5)), "unreadable image", "remove it"),
    _case(
        "a note that unpacks to 64 MiB",
        lambda image, _: _png_with(image, b"zTXt", b"note\0\0" + zlib.compress(bytes(2**26))),
        "unreadable image",
        "remove it",
    ),
    _case("pages", lambda image, _: _as_tiff(image, np.stack([picture(1)] * 2), photometric="minisblack"), "2 pages"),
    _case("fractions", lambda image, _: _as_tiff(image, picture(1) / np.float32(255)), "Save it with 8 or 16 bits"),
    _case("negative values", lambda image, _: _as_tiff(image, picture(1).astype(np.int32) - 9), "in [0, 65535]"),
    _case("hidden by alpha", lambda image, _: save(image, _hidden()), "alpha channel", "Save it without alpha"),
    _case("one value", lambda image, _: save(image, np.full((24, 32), 7, np.uint8)), "the value 7", "Export it again"),
    _case("grey and alpha in planes", lambda image, _: _planes(image), "2 planes of 8 bits", "as PNG"),
    _case("a kind that is not read", lambda image, _: image.rename(image.with_suffix(".webp")), ".webp", "as PNG"),
    _case("DICOM that is none", lambda image, _: _dicom(image, b"no DICOM"), "as DICOM", "Export it again"),
    _case("other values in each mask", lambda _, mask: _two(mask), "2 in 1", "--labels 1=artery,2=vein"),
    _case("a link to nowhere", lambda image, _: _dangling(image), "mask without image", "Add it, or remove the mask"),
    _case("a pipe", lambda image, _: _fifo(image), "mask without image", "Add it, or remove the mask"),
    _case("a folder", lambda image, _: _folder(image), "A folder inside images/", "Move its images up"),
    _case("missing mask", lambda _, mask: mask.unlink(), "missing mask", "Needs a mask masks/bad", "Add it"),
    _case("missing image", lambda image, _: image.unlink(), "mask without image", "remove the mask"),
    _case("two masks", lambda _, mask: save(mask.with_suffix(".tif"), picture(1)), "listed twice", "Keep one of each"),
    _case("mask cut off", lambda _, mask: _cut(mask), "unreadable mask", "Save it again as PNG"),
    _case("huge mask", lambda _, mask: mask.write_bytes(png_header_of(60_000, 60_000)), "Scale the image down"),
    _case("mask of greys", lambda _, mask: save(mask, picture(1)), "mask not two-valued", "Threshold it"),
    _case(
        "mask of three colours",
        lambda _, mask: save(mask, np.resize(np.uint8([[0, 0, 0], [9, 0, 0], [0, 9, 0]]), (24, 32, 3))),
        "got 3",
        "Threshold it",
    ),
    _case(
        "mask of another size",
        lambda _, mask: save(mask, rectangle_mask((2, 3, 10, 5), (_SIDE, _SIDE))),
        "the image is 32 x 24 pixels, its mask 64 x 64",
        "Save both at one size",
    ),
]
