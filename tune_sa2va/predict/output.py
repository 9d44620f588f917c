"""The folder that predict writes: masks/, overlays/, and `predictions.json`, a record of how they were made."""

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

_VESSEL_COLOUR = np.array([42, 157, 143], dtype=np.float64)  # the green of "found" in the report
_COLOUR_SHARE = 0.65


@dataclass(frozen=True, slots=True)
class Output:
    """A folder that is being written. about: model, mode, question and threshold, for the record."""

    folder: Path
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, about: dict[str, Any], files: Sequence[Path]) -> "Output":
        """Makes the folder, or clears it: only masks and overlays that the record of an earlier call names are deleted.

        The new record lists all masks before the first is written, so that an interrupted call can be repeated.
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
        """Writes the mask (0 or 255) and the overlay of one image, in the size of the upright image."""
        name = mask_name(file)
        write_whole(self.folder / MASKS / name, to_png(mask.astype(np.uint8) * 255))
        write_whole(self.folder / OVERLAYS / name, to_png(overlay(picture, mask)))

    def finish(self, images: Sequence[dict[str, Any]]) -> None:
        """Writes the record. images: a dictionary for each image, with the file name of its mask as `mask`."""
        record = self.about | {"images": list(images)}
        write_whole(self.folder / RECORD_FILE, (json.dumps(record, indent=1) + "\n").encode())


def check_place(folder: Path) -> None:
    """Raises UserError unless `folder` is new, empty, or holds only what an earlier call wrote."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--to {folder}: is a file. Give a folder.")
    found = {path.name for path in folder.iterdir()}
    if found and (RECORD_FILE not in found or found - {RECORD_FILE, MASKS, OVERLAYS}):
        raise UserError(f"--to {folder}: holds other files. Give a new or empty folder, or one that predict wrote.")


def mask_name(file: Path) -> str:
    """The file name of the mask, and of the overlay, of an image file."""
    return f"{image_stem(file)}.png"


def overlay(picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with vessel pixels tinted."""
    painted = picture.copy()
    painted[mask] = np.rint((1 - _COLOUR_SHARE) * picture[mask] + _COLOUR_SHARE * _VESSEL_COLOUR)
    return painted


def _names_in(record: Path) -> list[str]:
    """Names of the masks of an earlier call. Only plain file names: the record may come from a stranger."""
    try:
        names = [str(image["mask"]) for image in json.loads(record.read_text(encoding="utf-8"))["images"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{record}: cannot be read ({error}). Give another --to, or remove that folder.") from error
    return [name for name in names if name.endswith(".png") and Path(name).name == name]
