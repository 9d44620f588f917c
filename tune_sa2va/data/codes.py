"""Short codes for images and groups, shown wherever a file name would carry a patient's name out of the house.

Codes are taken from the content of the image files, never from names, so that nobody can find a name by trying all of
them. They stay the same wherever the folder lies; the table from code to name is `names.parquet` of a results folder.
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
"""Hex digits of a code: two of 10,000 images share one with a chance of 1 in 20,000."""


def image_code(sample: Sample) -> str:
    """`img-` and ten hex digits of the image file's SHA-256.

    Raises:
        DataGoneError: the file is no longer there.
    """
    return f"img-{_digest(sample.image)}"


def file_code(path: Path) -> str:
    """`file-` and ten hex digits of the SHA-256 of a file that is no image of the data set.

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
"""Names of fewer letters ("c1", "07") would be found in any text; alone they tell nobody's name."""


_NO_NAMES = ("images", "image", "frames", "data", "masks", "mask")
"""Folders that are called so in every data set."""


def spellings(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Each way in which an image, a group or a folder of `names.parquet` may be named -> its code."""
    rows = list(rows)
    codes: dict[str, str] = {}
    for row in rows:
        codes |= dict.fromkeys((*PurePosixPath(row["name"]).parts[:-1], row["group"]), row["group_code"])
    for name in _NO_NAMES:
        codes.pop(name, None)
    for row in rows:  # after groups: the image is more than its group, where one is called like the other
        path = PurePosixPath(row["name"])
        codes |= dict.fromkeys((image_stem(path), path.name, row["name"]), row["image_code"])
    shown = {printable(spelling): code for spelling, code in codes.items()}  # as `repr` has it in messages
    return {spelling: code for spelling, code in (shown | codes).items() if len(spelling) >= SHORTEST_HIDDEN}


def hide(text: str, codes: Mapping[str, str]) -> str:
    """The text with folders cut off and each name or whole path among `codes` as its code."""
    for path in sorted((spelling for spelling in codes if spelling.startswith("/")), key=len, reverse=True):
        text = text.replace(path, codes[path])
    # Folders before names: those above the data set's are in no table, and may name people, too.
    text = re.sub(r"(?<![\w.:/])/(?:[^/\s'\"]+/)+", "…/", text)
    if not codes:
        return text
    # The longest first: "images/Li_Wei.png" before "Li_Wei".
    spellings = sorted(codes, key=len, reverse=True)
    pattern = "|".join(re.escape(spelling) for spelling in spellings)
    # An underscore is no part of a name: "Li_Wei_mask.png" is Li_Wei's.
    return re.sub(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", lambda found: codes[found.group()], text)
