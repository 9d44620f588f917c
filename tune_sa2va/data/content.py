"""What the files of a data set hold, as hashes: a file is read once, however many ask for its content."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.errors import DataGoneError

_RACY_NS = 2_000_000_000
"""A file may change again within one tick of its disk's clock, FAT's two seconds at most, and keep its time."""

_hashes: dict[tuple[Path, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file in 64 hex digits; read once, until its size or time changes.

    Raises:
        OSError: it is no longer there, or cannot be read.
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
    """Plain values that are equal where the mask is."""
    outlines: list[object] = [[float(value) for value in outline] for outline in polygons.outlines]
    # That outlines are united has always gone unsaid.
    drawn: list[object] = ["even-odd", outlines] if polygons.rule == "even-odd" else outlines
    return [drawn, [[*runs.size_px, *runs.counts] for runs in polygons.runs]] if polygons.runs else drawn


@dataclass(frozen=True, slots=True)
class Content:
    """SHA-256, 64 hex digits each, of a sample's image file and of its mask's file (and label) or outlines."""

    image_sha256: str
    mask_sha256: str


def content_of(sample: Sample) -> Content:
    """What `sample` holds now.

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
