"""The folder that predict writes: masks/, overlays/, and `predictions.json`, which says how they were made."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.png import to_png
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import UserError

RECORD_FILE = "predictions.json"
MASKS, OVERLAYS = "masks", "overlays"

_VESSEL_COLOUR = np.array([42, 157, 143], dtype=np.float64)  # green, as "found" in the report
_COLOUR_SHARE = 0.65


@dataclass(frozen=True, slots=True)
class Output:
    """An open folder. about: model, mode, question and threshold, for the record."""

    folder: Path
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, about: dict[str, Any], files: Sequence[Path]) -> "Output":
        """Make the folder, or clear an earlier run's: of masks and overlays only those that its record names.

        The record names this run's files before the first is written, so that a run cut short can be run again.
        """
        for name in _names_in(folder / RECORD_FILE):
            for kind in (MASKS, OVERLAYS):
                (folder / kind / name).unlink(missing_ok=True)
        output = cls(folder, about)
        for kind in (MASKS, OVERLAYS):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        output.finish([{"mask": mask_name(file)} for file in files])
        return output

    def write(self, file: Path, picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> None:
        """The mask (0 or 255) and the overlay of one image, on the upright image's own pixels."""
        name = mask_name(file)
        write_whole(self.folder / MASKS / name, to_png(mask.astype(np.uint8) * 255))
        write_whole(self.folder / OVERLAYS / name, to_png(overlay(picture, mask)))

    def finish(self, images: Sequence[dict[str, Any]]) -> None:
        """Write the record. images: each with `mask`, its file's name."""
        record = self.about | {"images": list(images)}
        write_whole(self.folder / RECORD_FILE, (json.dumps(record, indent=1) + "\n").encode())


def check_place(folder: Path) -> None:
    """Raises UserError unless `folder` is new, empty, or of an earlier run and nothing else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--to {folder}: is a file. Give a folder.")
    found = {path.name for path in folder.iterdir()}
    if found and (RECORD_FILE not in found or found - {RECORD_FILE, MASKS, OVERLAYS}):
        raise UserError(f"--to {folder}: holds other files. Give an empty or a new folder, or one of an earlier run.")


def mask_name(file: Path) -> str:
    """Of the mask and of the overlay of an image file."""
    return f"{image_stem(file)}.png"


def overlay(picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with the vessels tinted."""
    painted = picture.copy()
    painted[mask] = np.rint((1 - _COLOUR_SHARE) * picture[mask] + _COLOUR_SHARE * _VESSEL_COLOUR)
    return painted


def _names_in(record: Path) -> list[str]:
    """Names of an earlier run's masks: plain names only, whatever the file says."""
    try:
        names = [str(image["mask"]) for image in json.loads(record.read_text(encoding="utf-8"))["images"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{record}: cannot be read ({error}). Give another --to, or remove that folder.") from error
    return [name for name in names if name.endswith(".png") and Path(name).name == name]
