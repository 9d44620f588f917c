"""Reads `annotations.json` beside `images/`: polygons in the format of Sa2VA's fine-tuning, or its flat form.

A list of entries `{"image": NAME, "mask": ..., "text": [...]}` in which `mask` is either

- a flat list of polygons `[[x1, y1, x2, y2, ...], ...]`, all of the only text, or
- a list in which `mask[i]` is the list of polygons of `text[i]`.

Each (image, text) becomes a sample. An image with an empty list of polygons, or without an entry, is not annotated: a
warning. NAME is looked up in `images/`, then in the data set's folder. Coordinates are in pixels of the upright image;
`check` compares them, and the optional `width` and `height` of an entry, with its size. `group` is the patient or
video; without it, groups come from file names. Other keys are not read, and are reported.
"""

import difflib
import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.readers.json_file import kind_of
from tune_sa2va.data.readers.limits import MAX_CELL_LETTERS, MAX_POINTS, MAX_ROWS, too_many
from tune_sa2va.data.readers.naming import (
    IMAGES,
    as_on_disk,
    group_from_name,
    image_files,
    in_order,
    is_file,
    leads_out,
    name_in,
    outside_problem,
    unread_files,
)
from tune_sa2va.data.readers.nothing import says_nothing
from tune_sa2va.data.sample import DEFAULT_TEXT, Polygons, Sample
from tune_sa2va.errors import DataError

_NO_ANNOTATION = "The image is left out."
_KNOWN = ("image", "mask", "text", "group", "width", "height")
# difflib's ratio, as for the columns of a manifest: it matches gruop, masks and texts.
_MISSPELT_FROM = 0.75
_OUTLINES_ELSEWHERE = ("segmentation", "polygons", "polygon", "segments", "points", "shapes", "annotations")
"""Keys under which other formats keep the outlines that are `mask` here."""


class EntryError(Exception):
    """One entry cannot be used; the message becomes that of a `Problem`."""


def read_annotations(path: Path, content: Any, *, allow_outside: bool = False, keep_absent: bool = False) -> Dataset:
    """The entries of the list in `path` as samples. content: what the file holds, parsed.

    keep_absent: whether a text without polygons becomes a sample with an absent target.

    Raises:
        DataError: the content is not a list, or the list is too long.
    """
    root = path.parent
    samples: dict[tuple[str, str], Sample] = {}
    problems: list[Problem] = []
    images_named = set()
    entries = _check_entries(path, content)
    for number, entry in enumerate(entries, start=1):
        where = f"{path.name}, entry {number}"
        try:
            named = _image_name(entry)
            image = find_image(root, named, allow_outside)
            if image is None:
                problems.append(outside_problem(where, named))
                continue
            images_named.add(image)
            outlines_of_text = _outlines_of_text(entry)
            group, size_px = entry_group(entry), _size(entry)
        except EntryError as error:
            problems.append(Problem(fault=Fault.BAD_ENTRY, file=where, message=str(error)))
            continue
        name = name_in(root, image)
        if not is_file(image):
            message = f"Named by {where}; there is no such file. Add it, or remove the entry."
            problems.append(Problem(fault=Fault.MISSING_IMAGE, file=name, message=message))
            continue
        for text, outlines in outlines_of_text:
            if (name, text) in samples:
                message = f"{where} lists this image again for '{text}'. Put all its polygons into one entry."
                problems.append(Problem(fault=Fault.LISTED_TWICE, file=name, message=message))
            elif not outlines and not keep_absent:
                message = f"No polygons of '{text}' in {where}. {_NO_ANNOTATION}"
                problems.append(Problem(fault=Fault.NOT_ANNOTATED, file=name, message=message))
            else:
                mask = Polygons(outlines=outlines, size_px=size_px)
                sample = Sample(name=name, image=image, mask=mask, group=group or group_from_name(name), text=text)
                samples[name, text] = sample
    for image in image_files(root / IMAGES):
        if image not in images_named:
            message = f"No entry in {path.name}. {_NO_ANNOTATION}"
            problems.append(Problem(fault=Fault.NOT_ANNOTATED, file=name_in(root, image), message=message))
    problems += [*_unread_keys(path, entries), *unread_files(root, root / IMAGES)]
    return Dataset(root=root, samples=in_order(samples.values()), problems=tuple(problems))


def _unread_keys(path: Path, entries: Iterable[Any]) -> list[Problem]:
    """A problem for each unknown key, with the number of entries that have it."""
    counts = Counter(key for entry in entries if isinstance(entry, dict) for key in entry if key not in _KNOWN)
    problems = []
    for key, number in counts.items():
        shown = key[:MAX_CELL_LETTERS]
        if near := difflib.get_close_matches(key.casefold(), _KNOWN, n=1, cutoff=_MISSPELT_FROM):
            message = f"{number} entries have the unknown key '{shown}'. Did you mean '{near[0]}'? Rename it."
            problems.append(Problem(fault=Fault.BAD_ENTRY, file=path.name, message=message))
            continue
        cure = "Its outlines go under 'mask'." if key in _OUTLINES_ELSEWHERE else "Remove it if it says nothing new."
        message = f"{number} entries have the key '{shown}', which is not read ({', '.join(_KNOWN)} are). {cure}"
        problems.append(Problem(fault=Fault.UNREAD_KEY, file=path.name, message=message))
    return problems


def _check_entries(path: Path, entries: Any) -> list[Any]:
    if not isinstance(entries, list):
        raise DataError(f"{path}: must hold a list of entries, got {kind_of(entries)}. Write [entry, entry, ...].")
    if len(entries) > MAX_ROWS:
        raise too_many(path, "entries", MAX_ROWS)
    return entries


def _image_name(entry: Any) -> str:
    if not isinstance(entry, dict):
        raise EntryError(f"An entry is an object with image, mask and text, got {kind_of(entry)}.")
    image = entry.get("image")
    if not isinstance(image, str) or not image or "\0" in image:
        raise EntryError(f"'image' must be a file name, got {kind_of(image)}.")
    if len(image) > MAX_CELL_LETTERS:
        raise EntryError(f"'image' has more than {MAX_CELL_LETTERS} letters. Give a file name.")
    return image


def entry_group(entry: dict[str, Any]) -> str:
    """The group of an entry; empty if it has none. Raises EntryError if the group is blank or not a name."""
    group = entry.get("group")
    if group is None:
        return ""
    if isinstance(group, bool) or not isinstance(group, str | int):
        raise EntryError(f"'group' must be a text or a number, got {kind_of(group)}.")
    text = str(group).strip() if isinstance(group, str) or abs(group) < 10**18 else ""
    if not text or len(text) > MAX_CELL_LETTERS or says_nothing(text):
        raise EntryError("'group' names nobody. Write the patient, or remove the key.")
    return text


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) if the entry has them."""
    size = entry.get("height"), entry.get("width")
    if size == (None, None):
        return None
    height, width = size
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise EntryError("'width' and 'height' must both be whole numbers of pixels. Correct them, or remove both.")
    return height, width


def find_image(root: Path, name: str, allow_outside: bool) -> Path | None:
    """The file in `images/`, else in `root`; if there is neither, its path in `images/`. None if it leads out."""
    candidates = [as_on_disk(Path(os.path.normpath(folder / name))) for folder in (root / IMAGES, root)]
    allowed = [path for path in candidates if allow_outside or not leads_out(root, path)]
    there = [path for path in candidates if is_file(path)] or allowed
    return there[0] if there and there[0] in allowed else None


def _outlines_of_text(entry: dict[str, Any]) -> list[tuple[str, tuple[tuple[float, ...], ...]]]:
    """(text, outlines) pairs of an entry in either form."""
    texts = entry.get("text", [DEFAULT_TEXT])
    if "mask" not in entry and (elsewhere := [key for key in _OUTLINES_ELSEWHERE if key in entry]):
        raise EntryError(f"There is no 'mask', but '{elsewhere[0]}', which is not read. Rename it to 'mask'.")
    mask = entry.get("mask", [])
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise EntryError("'text' must be a list of texts such as [\"blood vessel\"].")
    if not isinstance(mask, list) or not all(isinstance(part, list) for part in mask):
        raise EntryError("'mask' must be a list of polygons, each a list [x1, y1, x2, y2, ...].")
    if any(len(text) > MAX_CELL_LETTERS for text in texts):
        raise EntryError(f"'text' has more than {MAX_CELL_LETTERS} letters. Name what the mask shows in a few words.")
    if nothing := [text for text in texts if says_nothing(text)]:
        raise EntryError(f"'text' is '{nothing[0]}'. Name what the mask shows in a few words.")
    if twice := [text for text, times in Counter(text.strip() for text in texts).items() if times > 1]:
        raise EntryError(f"'text' has '{twice[0]}' twice. Put all its polygons into one list, under one text.")
    nested = [isinstance(item, list) for part in mask for item in part]
    if any(nested) and not all(nested):
        raise EntryError("'mask' mixes polygons and lists of polygons. Give a list of polygons for each text.")
    if not any(mask):  # no annotation, in either form
        mask = [[] for _ in texts]
    elif not any(nested) and len(texts) == 1:
        mask = [mask]
    elif not any(nested):
        raise EntryError(
            f"'mask' is one flat list of polygons, but there are {len(texts)} texts. Give a list for each."
        )
    if len(mask) != len(texts):
        raise EntryError(f"'mask' has polygons for {len(mask)} texts, but there are {len(texts)} texts.")
    for text, polygons in zip(texts, mask, strict=True):
        if sum(map(len, polygons)) > 2 * MAX_POINTS:
            raise EntryError(f"The polygons of '{text}' have more than {MAX_POINTS} points. Simplify them.")
    return [
        (text.strip(), tuple(outline_of(polygon) for polygon in polygons))
        for text, polygons in zip(texts, mask, strict=True)
    ]


def outline_of(polygon: list[Any]) -> tuple[float, ...]:
    """A flat list of coordinates as floats. Raises EntryError if it holds anything else."""
    try:
        # bool is a number in Python, but true in a list of coordinates is a mistake
        outline = tuple(
            float(value) for value in polygon if isinstance(value, int | float) and not isinstance(value, bool)
        )
    except OverflowError:  # an integer of more than 308 digits
        outline = ()
    if len(outline) != len(polygon) or not all(map(math.isfinite, outline)):
        raise EntryError("A polygon is a list of numbers [x1, y1, x2, y2, ...], got something else in it.")
    if len(outline) % 2:
        raise EntryError(f"A polygon has an x and a y for each point, got {len(outline)} numbers.")
    return outline
