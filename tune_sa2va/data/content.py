"""Hashes of the content of a data set's files. They are kept, so that each file is read once per process."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.errors import DataGoneError

_RACY_NS = 2_000_000_000
"""A file that changed less than this before it was read is not remembered: a further change within one tick of the
file system's clock (2 s on FAT) would leave its time as it is."""

_hashes: dict[tuple[Path, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in 64 hex digits. The file is read again only if its size or its modification time changed.

    Raises:
        OSError: the file is no longer there, or cannot be read.
    """
    stat = path.stat()
    key = (path, stat.st_size, stat.st_mtime_ns)
    if key in _hashes:
        return _hashes[key]
    read_at_ns = time.time_ns()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if read_at_ns - stat.st_mtime_ns > _RACY_NS:
        _hashes[key] = digest
    return digest


def outlines_of(polygons: Polygons) -> list[object]:
    """The outlines and runs as plain values, for hashing: equal for equal masks."""
    outlines: list[object] = [[float(value) for value in outline] for outline in polygons.outlines]
    # The rule "union" is left out, so that hashes of earlier versions stay valid.
    drawn: list[object] = ["even-odd", outlines] if polygons.rule == "even-odd" else outlines
    return [drawn, [[*runs.size_px, *runs.counts] for runs in polygons.runs]] if polygons.runs else drawn


@dataclass(frozen=True, slots=True)
class Content:
    """SHA-256 (64 hex digits each) of a sample's image file, and of its mask file (with the label) or its outlines."""

    image_sha256: str
    mask_sha256: str


def content_of(sample: Sample) -> Content:
    """The hashes of `sample` as its files are now.

    Raises:
        DataGoneError: a file is no longer there, or cannot be read.
    """
    try:
        if isinstance(sample.mask, Polygons):
            mask = hashlib.sha256(json.dumps(outlines_of(sample.mask)).encode()).hexdigest()
        elif isinstance(sample.mask, Label):
            said = json.dumps([file_hash(sample.mask.file), sample.mask.values])
            mask = hashlib.sha256(said.encode()).hexdigest()
        else:
            mask = file_hash(sample.mask)
        return Content(file_hash(sample.image), mask)
    except OSError as error:
        raise DataGoneError(f"{error.filename}: cannot be read ({error.strerror}). Put it back.") from error
