"""Small data sets on disk, in every format that is read, all with the same images, masks and groups."""

import csv
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.ndimage import gaussian_filter

from tune_sa2va.data import Dataset, Fault, Sample, open_dataset

HEIGHT, WIDTH = 24, 32
SHAPE = (HEIGHT, WIDTH)

# name of the image file -> vessel as a rectangle (left, top, right, bottom), right and bottom exclusive
RECTANGLES = {
    "P(01)_1_frame_000001.png": (2, 3, 10, 5),
    "P(01)_1_frame_000002.PNG": (3, 3, 11, 5),
    "Q_frame_000001.tif": (20, 10, 25, 24),
    "alone.bmp": (0, 0, 4, 24),
}
GROUPS = {
    "P(01)_1_frame_000001.png": "P(01)_1",
    "P(01)_1_frame_000002.PNG": "P(01)_1",
    "Q_frame_000001.tif": "Q",
    "alone.bmp": "images/alone.bmp",
}


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A grey picture that is different for every seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def rectangle_mask(rectangle: tuple[int, int, int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    left, top, right, bottom = rectangle
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def rectangle_outline(rectangle: tuple[int, int, int, int]) -> list[int]:
    left, top, right, bottom = rectangle
    return [left, top, right, top, right, bottom, left, bottom]


def save(path: Path, values: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values.astype(np.uint8) * 255 if values.dtype == bool else values
    Image.fromarray(values).save(path, **options)
    return path


def smooth_picture(seed: int, shape: tuple[int, int] = (96, 96)) -> np.ndarray:
    """A smooth grey picture, like a photograph, that is different for every seed."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return np.rint(255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)


def save_pair(root: Path, name: str, seed: int, mask: np.ndarray | None = None) -> None:
    """Writes `images/NAME` and `masks/STEM.png`."""
    save(root / "images" / name, picture(seed))
    mask = rectangle_mask((2, 3, 10, 5)) if mask is None else mask
    save(root / "masks" / f"{Path(name).stem}.png", mask)


def save_images(root: Path) -> None:
    for seed, name in enumerate(RECTANGLES):
        save(root / "images" / name, picture(seed))


def save_masks(root: Path, ending: str) -> None:
    for name, rectangle in RECTANGLES.items():
        save(root / "masks" / f"{Path(name).stem}{ending}", rectangle_mask(rectangle))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = ("image", "mask")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_json(path: Path, entries: Any) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def _rows() -> list[dict[str, str]]:
    return [{"image": f"images/{name}", "mask": f"masks/{Path(name).stem}.png"} for name in RECTANGLES]


def _folder(root: Path) -> Path:
    save_masks(root, ".png")
    return root


def _folder_mask_ending(root: Path) -> Path:
    save_masks(root, "_mask.TIF")
    return root


def _csv(root: Path) -> Path:
    save_masks(root, ".png")
    write_csv(root / "manifest.csv", _rows())
    return root


def _csv_by_path(root: Path) -> Path:
    save_masks(root, ".png")
    return write_csv(root / "cohort.csv", _rows())


def _parquet(root: Path) -> Path:
    save_masks(root, ".png")
    write_parquet(root / "manifest.parquet", _rows())
    return root


def _flat_polygons(root: Path) -> Path:
    entries = [
        {"image": name, "mask": [rectangle_outline(rectangle)], "text": ["blood vessel"]}
        for name, rectangle in RECTANGLES.items()
    ]
    write_json(root / "annotations.json", entries)
    return root


def _nested_polygons(root: Path) -> Path:
    entries = [
        {"image": name, "mask": [[rectangle_outline(rectangle)]], "text": ["blood vessel"]}
        for name, rectangle in reversed(RECTANGLES.items())
    ]
    write_json(root / "annotations.json", entries)
    return root


FORMS: dict[str, Callable[[Path], Path]] = {
    "folder": _folder,
    "folder with NAME_mask": _folder_mask_ending,
    "manifest.csv": _csv,
    "path of a CSV": _csv_by_path,
    "manifest.parquet": _parquet,
    "annotations.json, flat": _flat_polygons,
    "annotations.json, nested": _nested_polygons,
}
"""How to write the data set in a folder; each gives the source to open."""


def png_header_of(height: int, width: int) -> bytes:
    """A PNG whose header announces a size, with almost no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def faults(dataset: Dataset) -> list[tuple[Fault, str]]:
    """(fault, file) of every problem."""
    return [(problem.fault, problem.file) for problem in dataset.problems]


def grouped_set(root: Path, groups: Iterable[str], names: str = "frame") -> tuple[Sample, ...]:
    """A data set with one image and mask per given group; the n-th image is the same in every set."""
    lines = ["image,mask,group"]
    for number, group in enumerate(groups):
        name = f"{names}{number}.png"
        save(root / "images" / name, picture(number))
        save(root / "masks" / name, rectangle_mask((2, 3, 10 + number, 9)))
        lines.append(f"images/{name},masks/{name},{group}")
    (root / "manifest.csv").write_text("\n".join(lines))
    return open_dataset(root).samples
