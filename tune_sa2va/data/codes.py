"""Short codes for images and groups. They stand in place of file names, which may hold names of patients.

A code is a hash of the image file's content, never of its name, so a name cannot be found by trying all names. Codes do
not depend on where the folder lies. `names.parquet` in a results folder maps codes to names.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tune_sa2va.data.content import file_hash
from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.sample import Sample
from tune_sa2va.errors import DataGoneError
from tune_sa2va.printable import printable

_DIGITS = 10
"""Hex digits of a code. Among 10,000 images, some two share a code with a probability of 1 in 20,000."""


def image_code(sample: Sample) -> str:
    """`img-` and ten hex digits of the image file's SHA-256.

    Raises:
        DataGoneError: the file is no longer there.
    """
    return f"img-{_digest(sample.image)}"


def file_code(path: Path) -> str:
    """`file-` and ten hex digits of the SHA-256 of a file that is not an image of the data set.

    Raises:
        DataGoneError: the file is no longer there.
    """
    return f"file-{_digest(path)}"


def _digest(path: Path) -> str:
    try:
        return file_hash(path)[:_DIGITS]
    except OSError as error:
        raise DataGoneError(f"{path}: cannot be read ({error.strerror}). Put it back.") from error


def group_codes(samples: Iterable[Sample]) -> dict[str, str]:
    """Group -> `grp-` and ten hex digits over the codes of the images in it."""
    members: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        members[sample.group].add(image_code(sample))
    return {
        group: f"grp-{hashlib.sha256(''.join(sorted(images)).encode()).hexdigest()[:_DIGITS]}"
        for group, images in members.items()
    }


SHORTEST_HIDDEN = 3
"""Shorter names ("c1", "07") are not replaced: they occur in any text, and do not identify anybody."""


_NO_NAMES = ("images", "image", "frames", "data", "masks", "mask")
"""Names of folders that occur in every data set and identify nobody."""


def spellings(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Each spelling of an image, a group or a folder in `rows` of `names.parquet` -> its code."""
    rows = list(rows)
    codes: dict[str, str] = {}
    for row in rows:
        codes |= dict.fromkeys((*PurePosixPath(row["name"]).parts[:-1], row["group"]), row["group_code"])
    for name in _NO_NAMES:
        codes.pop(name, None)
    for row in rows:  # after the groups: where an image and a group share a name, the image's code wins
        path = PurePosixPath(row["name"])
        codes |= dict.fromkeys((image_stem(path), path.name, row["name"]), row["image_code"])
    shown = {printable(spelling): code for spelling, code in codes.items()}  # as `repr` writes it in messages
    return {spelling: code for spelling, code in (shown | codes).items() if len(spelling) >= SHORTEST_HIDDEN}


def hide(text: str, codes: Mapping[str, str]) -> str:
    """The text with leading folders removed, and each name or path in `codes` (spelling -> code) replaced."""
    for path in sorted((spelling for spelling in codes if spelling.startswith("/")), key=len, reverse=True):
        text = text.replace(path, codes[path])
    # Folders before names: those above the data set's folder are in no table, and may name people, too.
    text = re.sub(r"(?<![\w.:/])/(?:[^/\s'\"]+/)+", "…/", text)
    if not codes:
        return text
    # The longest first: "images/Li_Wei.png" before "Li_Wei".
    spellings = sorted(codes, key=len, reverse=True)
    pattern = "|".join(re.escape(spelling) for spelling in spellings)
    # An underscore ends a name: "Li_Wei_mask.png" holds the name Li_Wei.
    return re.sub(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", lambda found: codes[found.group()], text)
