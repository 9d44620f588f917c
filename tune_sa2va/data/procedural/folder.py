"""Writes procedural scenes as a data set on disk, in the layout of a user's data; the demo trains on one."""

import csv
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tune_sa2va.data.procedural import render
from tune_sa2va.data.procedural.scene import VESSEL, Image8, Mask
from tune_sa2va.errors import DataError

FRAMES_PER_GROUP = 2
"""Images of one vessel tree. They must stay on one side of a split, like the frames of one patient."""


def write_folder(root: Path, family: str, count: int, size: int, seed: int) -> Path:
    """Writes `count` images of `size` x `size` pixels, masks (0 and 255) and a manifest.csv to `root`; returns `root`.

    Every FRAMES_PER_GROUP consecutive images form a group: frames of one scene, slightly moved, with different noise.
    The folder appears complete or not at all, and equal arguments give equal files.

    Raises:
        DataError: `root` is not empty, or `count` or `size` is too small.
    """
    if root.exists() and any(root.iterdir()):
        raise DataError(f"{root}: the folder must be new or empty. Choose another one, or remove it.")
    if count < 1 or size < 32:
        raise DataError(f"{root}: count must be >= 1 and size >= 32, got {count} and {size}.")
    root.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename within one file system.
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        _write(partial, family, count, size, seed)
        partial.chmod(0o755)
        partial.replace(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return root


def _write(folder: Path, family: str, count: int, size: int, seed: int) -> None:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = []
    number = seed * 1_000_000
    image = mask = None
    for index in range(count):
        group, frame = divmod(index, FRAMES_PER_GROUP)
        if frame == 0 or image is None or mask is None:
            image, mask, number = _next_vessels(family, number, size)
            shown, truth = image, mask
        else:
            shown, truth = _moved(np.random.default_rng([seed, index]), image, mask)
        name = f"{index:04d}.png"
        Image.fromarray(shown).save(folder / "images" / name)
        Image.fromarray(truth.astype(np.uint8) * 255).save(folder / "masks" / name)
        rows.append((f"images/{name}", f"masks/{name}", f"g{group:03d}"))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "mask", "group"))
        writer.writerows(rows)


def _next_vessels(family: str, number: int, size: int) -> tuple[Image8, Mask, int]:
    """The first scene from `number` on that holds a vessel, and the number after it."""
    while True:
        scene = render(family, number, size)
        number += 1
        if VESSEL in scene.masks:
            return scene.image, scene.masks[VESSEL], number


def _moved(rng: np.random.Generator, image: Image8, mask: Mask) -> tuple[Image8, Mask]:
    """A later frame: turned by up to 2 degrees, up to 8 percent larger, shifted, brighter or darker, noisier."""
    size = len(mask)
    half, angle = size / 2, rng.uniform(-0.035, 0.035)
    # Enlarged enough that the turned frame shows nothing from outside the first one.
    reach = float(np.cos(angle) + abs(np.sin(angle)))
    zoom = reach * rng.uniform(1.02, 1.06)
    dx, dy = rng.uniform(-1, 1, 2) * half * (1 - reach / zoom)
    a, b = float(np.cos(angle)) / zoom, float(np.sin(angle)) / zoom
    where = (a, -b, half + dx - (a - b) * half, b, a, half + dy - (a + b) * half)
    how = (Image.Transform.AFFINE, where, Image.Resampling.BILINEAR)
    moved = Image.fromarray(image).transform((size, size), *how)
    truth = Image.fromarray(mask.astype(np.uint8) * 255).transform((size, size), *how)
    noise = rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(rng.uniform(1, 4))
    shown = np.asarray(moved, np.float32) * np.float32(rng.uniform(0.9, 1.1)) + noise
    return np.clip(shown, 0, 255).astype(np.uint8), np.asarray(truth) > 127
