"""Short codes for images and groups, shown wherever a file name would carry a patient's name out of the house.

Codes are taken from the content of the image files, never from names, so that nobody can find a name by trying all of
them. They stay the same wherever the folder lies; the table from code to name is `names.parquet` of a results folder.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from tune_sa2va.data.content import file_hash
from tune_sa2va.data.sample import Sample
from tune_sa2va.errors import DataError

_DIGITS = 10
"""Hex digits of a code: two of 10,000 images share one with a chance of 1 in 20,000."""


def image_code(sample: Sample) -> str:
    """`img-` and ten hex digits of the image file's SHA-256.

    Raises:
        DataError: the file is no longer there.
    """
    try:
        return f"img-{file_hash(sample.image)[:_DIGITS]}"
    except OSError as error:
        raise DataError(f"{sample.image}: cannot be read ({error.strerror}). Put it back.") from error


def group_codes(samples: Iterable[Sample]) -> dict[str, str]:
    """Group -> `grp-` and ten hex digits over the codes of the images in it."""
    members: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        members[sample.group].add(image_code(sample))
    return {
        group: f"grp-{hashlib.sha256(''.join(sorted(images)).encode()).hexdigest()[:_DIGITS]}"
        for group, images in members.items()
    }
