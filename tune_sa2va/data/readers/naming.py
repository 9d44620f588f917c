"""The names that all readers give alike: of samples, of their groups, and of files in a data set's folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from tune_sa2va.data.dataset import Fault, Problem
from tune_sa2va.data.images import IMAGE_SUFFIXES
from tune_sa2va.data.sample import Sample

IMAGES = "images"
"""The folder of images in a data set's folder."""

_FRAME = "_frame_"


def leads_out(root: Path, path: Path) -> bool:
    """Whether the file that opens at `path` lies outside `root` (given with its own links resolved).

    By `..`, as an absolute path, or through a link: a data set from a stranger must not show us other files of this
    machine as its own.
    """
    return not Path(os.path.realpath(path)).is_relative_to(root)


def outside_problem(where: str, name: str) -> Problem:
    """The problem of a file that `leads_out`."""
    message = f"'{name}' lies outside. Move the file in, or allow it with --allow-outside."
    return Problem(fault=Fault.OUTSIDE, file=where, message=message)


def name_in(root: Path, path: Path) -> str:
    """`path` relative to `root` with forward slashes, links not followed; absolute where it lies outside."""
    plain = Path(os.path.normpath(path))
    return (plain.relative_to(root) if plain.is_relative_to(root) else plain).as_posix()


def group_from_name(name: str) -> str:
    """The part of the file name before the first `_frame_` (a video), else the whole name: each image by itself."""
    before, frame, _ = name.rpartition("/")[2].partition(_FRAME)
    return before if frame and before else name


def is_file(path: Path) -> bool:
    """Whether `path` is a file. False, not an error, for names from a list that no file system could hold."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises on a name of 300 characters)


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, in order of name. Hidden files are left out (macOS leaves `._NAME.png`)."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def in_order(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Samples by name and text, so that no result depends on the order of a list or of a file system."""
    return tuple(sorted(samples, key=lambda sample: (sample.name, sample.text)))
