"""Finds the images that a user names, as files or folders, and decodes each once, to report all faults at once."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.data import IMAGE_SUFFIXES, Severity, load_image
from tune_sa2va.data.endings import image_ending, image_stem
from tune_sa2va.data.looks import faults_of, look_at
from tune_sa2va.errors import DataError

_THREADS = 4  # each holds a picture of up to MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Pictures:
    """files: the images, in the given order (those of a folder by name). faults: a sentence for each fault."""

    files: tuple[Path, ...]
    faults: tuple[str, ...]


def find_pictures(given: Sequence[Path]) -> Pictures:
    """The images in `given`: named files, and the images directly in named folders."""
    files: list[Path] = []
    faults: list[str] = []
    for path in given:
        inside = _images_in(path) if path.is_dir() else [path]
        if not inside:
            faults.append(f"{path}: no image in this folder ({', '.join(sorted(IMAGE_SUFFIXES))}). Give another.")
        files += inside
    files = list(dict.fromkeys(files))
    with ThreadPoolExecutor(_THREADS) as threads:
        faults += [fault for fault in threads.map(_fault, files) if fault]
    return Pictures(tuple(files), tuple(faults + _same_names(files)))


def _images_in(folder: Path) -> list[Path]:
    """Images by name, without hidden files (macOS writes `._NAME`)."""
    return sorted(
        path
        for path in folder.iterdir()
        if image_ending(path) in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _fault(path: Path) -> str:
    try:
        found = faults_of(look_at(load_image(path)))
    except DataError as error:
        return str(error)
    return next((f"{path}: {message}" for fault, message in found if fault.severity is Severity.ERROR), "")


def _same_names(files: Sequence[Path]) -> list[str]:
    """A sentence for images whose masks would have one name. Case is ignored, as on some file systems."""
    of_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        of_stem[image_stem(path).casefold()].append(path)
    return [
        f"{', '.join(map(str, paths))}: their masks would all be called {image_stem(paths[0])}.png. "
        "Rename all but one, or predict them in separate calls."
        for paths in of_stem.values()
        if len(paths) > 1
    ]
