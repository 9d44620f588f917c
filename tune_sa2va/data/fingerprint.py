"""The fingerprint of a data set: equal only for the same pictures and masks. `environment.json` records it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tune_sa2va.data.content import file_hash, outlines_of
from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.errors import DataError


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 (64 hex digits) over names, texts, sizes and contents of image and mask files, or the polygons.

    It depends neither on where the folder lies nor on the order of the samples. Groups and splits are not part of it;
    the split has a record of its own. An image outside the data set's folder is named by its absolute path.

    Raises:
        DataError: a file is no longer there.
    """
    digests = sorted(_digest(sample) for sample in samples)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(sample: Sample) -> str:
    if isinstance(sample.mask, Polygons):
        mask: object = outlines_of(sample.mask)
    elif isinstance(sample.mask, Label):
        mask = [sample.mask.file.name, *_size_and_hash(sample.mask.file), sample.mask.values]
    else:
        mask = [sample.mask.name, *_size_and_hash(sample.mask)]
    # JSON delimits the parts whatever they hold, and can write names that are not valid Unicode.
    parts = json.dumps([sample.name, sample.text, *_size_and_hash(sample.image), mask])
    return hashlib.sha256(parts.encode()).hexdigest()


def _size_and_hash(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_size, file_hash(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
