"""Rules that all readers share: names of samples and groups, and which files of a folder are read."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tune_sa2va.data.dataset import Fault, Problem
from tune_sa2va.data.endings import IMAGE_SUFFIXES, image_ending
from tune_sa2va.data.sample import Sample

IMAGES = "images"
"""Name of the folder that holds the images of a data set."""

_FRAME = re.compile(r"_frame_", re.IGNORECASE)
_PICTURES_NOT_READ = frozenset(
    {".webp", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jpf", ".jxl", ".tga", ".svg", ".psd", ".exr", ".hdr", ".raw"}
    | {".nii", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".mat", ".gz", ".zip", ".pdf", ".eps", ".ico"}
    | {".mp4", ".avi", ".mov", ".mkv", ".pcx", ".xcf", ".nef", ".cr2", ".dng", ".vsi", ".svs", ".czi", ".lif"}
)


def leads_out(root: Path, path: Path) -> bool:
    """Whether the file that opens at `path` lies outside `root`, by `..`, as an absolute path, or through a link.

    A data set from a stranger must not make us read other files of this machine. root: with its own links resolved.
    """
    return not Path(os.path.realpath(path)).is_relative_to(root)


def outside_problem(where: str, name: str) -> Problem:
    """The problem for a file that `leads_out`."""
    message = f"'{name}' lies outside. Move the file in, or allow it with --allow-outside."
    return Problem(fault=Fault.OUTSIDE, file=where, message=message, names=(name,))


def name_in(root: Path, path: Path) -> str:
    """`path` relative to `root` with forward slashes, links not followed; absolute where it lies outside."""
    plain = Path(os.path.normpath(path))
    return (plain.relative_to(root) if plain.is_relative_to(root) else plain).as_posix()


def group_from_name(name: str) -> str:
    """The part of the file name before the first `_frame_`, in any case (a video); else `name`, a group by itself."""
    file = name.rpartition("/")[2]
    found = _FRAME.search(file)
    return file[: found.start()] if found and found.start() else name


def plain(text: str) -> str:
    """The text in Unicode's NFC form: names that look equal compare equal, whatever system wrote them."""
    return unicodedata.normalize("NFC", text)


def as_on_disk(path: Path) -> Path:
    """`path`, or the one file beside it whose name looks the same (macOS stores letters like ä decomposed)."""
    if is_file(path) or plain(path.name).isascii() or not path.parent.is_dir():
        return path
    same = [other for other in path.parent.iterdir() if plain(other.name) == plain(path.name)]
    return same[0] if len(same) == 1 else path


def is_file(path: Path) -> bool:
    """Whether `path` is a file. False, and no error, for a name that no file system could hold."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises on a name of 300 characters)


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, in order of name, without hidden files (macOS writes `._NAME.png`)."""
    return [path for path in _files(folder) if image_ending(path) in IMAGE_SUFFIXES]


def unread_files(root: Path, folder: Path) -> list[Problem]:
    """A problem for each file directly in `folder` that is not read; an error for image formats, else a warning."""
    return [_unread_problem(root, path) for path in _files(folder) if image_ending(path) not in IMAGE_SUFFIXES]


def _unread_problem(root: Path, path: Path) -> Problem:
    ending = path.suffix.lower()
    if ending in _PICTURES_NOT_READ:
        cure = "Unpack it" if ending in (".gz", ".zip") else "Save it as PNG"
        message = f"Files that end in {ending} are not read ({', '.join(sorted(IMAGE_SUFFIXES))} are). {cure}."
        return Problem(fault=Fault.UNREAD_PICTURE, file=name_in(root, path), message=message)
    message = "Does not have the ending of an image, and is ignored. If it is one, save it as PNG; else move it away."
    return Problem(fault=Fault.UNREAD_FILE, file=name_in(root, path), message=message)


def _files(folder: Path) -> list[Path]:
    """The files directly in `folder` that are not hidden, in order of name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())


def in_order(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Samples sorted by name and text, so that no result depends on the order of a list or of a file system."""
    return tuple(sorted(samples, key=lambda sample: (sample.name, sample.text)))
