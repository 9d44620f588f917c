"""Reads COCO's `instances.json`: images, annotations with polygons or run lengths, and categories, which are the texts.

All annotations of one category on one image make one sample; crowds count like others. A category without annotation on
an image is an absent target, and becomes a sample only with `keep_absent`. Files are looked up as for annotations.json;
`width` and `height` are compared with the picture. An image may have a `group` (patient or video), which COCO lacks.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.decoding import MAX_PIXELS
from tune_sa2va.data.readers.annotations import EntryError, entry_group, find_image, outline_of
from tune_sa2va.data.readers.json_file import kind_of
from tune_sa2va.data.readers.limits import MAX_CELL_LETTERS, MAX_POINTS, MAX_ROWS, too_many
from tune_sa2va.data.readers.naming import group_from_name, in_order, is_file, name_in, outside_problem
from tune_sa2va.data.readers.nothing import says_nothing
from tune_sa2va.data.run_lengths import unpacked
from tune_sa2va.data.sample import Polygons, Runs, Sample
from tune_sa2va.errors import DataError
from tune_sa2va.words import count

_LISTS = ("images", "annotations", "categories")


def is_coco(content: Any) -> bool:
    """Whether the content of a JSON file has COCO's three lists."""
    return isinstance(content, dict) and all(isinstance(content.get(name), list) for name in _LISTS)


def read_coco(path: Path, content: Mapping[str, Any], *, allow_outside: bool, keep_absent: bool) -> Dataset:
    """The annotations in `path` as samples. content: what the file holds, parsed; `is_coco` holds for it.

    Raises:
        DataError: a list is too long, or a category lacks an id or a name, or repeats one.
    """
    for name in _LISTS:
        if len(content[name]) > MAX_ROWS:
            raise too_many(path, name, MAX_ROWS)
    texts = _texts(path, content["categories"])
    problems: list[Problem] = []
    drawn = _drawings(path, content["annotations"], texts, problems)
    root, samples, seen = path.parent, dict[tuple[str, str], Sample](), set[Any]()
    for number, image in enumerate(content["images"], start=1):
        where = f"{path.name}, image {number}"
        try:
            key, file, size_px, group = _image(image)
        except EntryError as error:
            problems.append(Problem(fault=Fault.BAD_ENTRY, file=where, message=str(error)))
            continue
        seen.add(key)
        found = find_image(root, file, allow_outside)
        if found is None:
            problems.append(outside_problem(where, file))
            continue
        name = name_in(root, found)
        if not is_file(found):
            message = f"Named by {where}; there is no such file. Add it, or remove the image."
            problems.append(Problem(fault=Fault.MISSING_IMAGE, file=name, message=message))
            continue
        masks = {text: Polygons(outlines=(), size_px=size_px) for text in texts.values()} if keep_absent else {}
        masks |= {text: mask.as_polygons(size_px) for text, mask in drawn.get(key, {}).items()}
        if not masks:
            message = f"No annotation in {path.name}. The image is left out; --absent keep keeps it."
            problems.append(Problem(fault=Fault.NOT_ANNOTATED, file=name, message=message))
        for text, mask in masks.items():
            if (name, text) in samples:
                message = f"{where} lists this image again. Keep one."
                problems.append(Problem(fault=Fault.LISTED_TWICE, file=name, message=message))
                break
            samples[name, text] = Sample(
                name=name, image=found, mask=mask, group=group or group_from_name(name), text=text
            )
    if stray := sum(len(of_text) for key, of_text in drawn.items() if key not in seen):
        message = f"{count(stray, 'mask')} of images that are not listed. List the images, or remove the annotations."
        problems.append(Problem(fault=Fault.BAD_ENTRY, file=path.name, message=message))
    return Dataset(root=root, samples=in_order(samples.values()), problems=tuple(problems))


class _Drawing:
    """All outlines and runs of one category on one image."""

    def __init__(self) -> None:
        self.outlines: list[tuple[float, ...]] = []
        self.runs: list[Runs] = []

    def as_polygons(self, size_px: tuple[int, int] | None) -> Polygons:
        return Polygons(outlines=tuple(self.outlines), runs=tuple(self.runs), size_px=size_px)


def _texts(path: Path, categories: list[Any]) -> dict[Any, str]:
    """Category id -> text."""
    texts: dict[Any, str] = {}
    for number, category in enumerate(categories, start=1):
        key, name = (category.get("id"), category.get("name")) if isinstance(category, dict) else (None, None)
        if not _is_id(key) or not isinstance(name, str) or not name.strip() or says_nothing(name):
            raise DataError(f"{path}: category {number} must have an id and a name. Fill them in.")
        if key in texts or name.strip() in texts.values():
            raise DataError(f"{path}: category {number} is there twice. Give each id and each name once.")
        if len(name) > MAX_CELL_LETTERS:
            raise DataError(f"{path}: category {number} has more than {MAX_CELL_LETTERS} letters. Shorten it.")
        texts[key] = name.strip()
    return texts


def _drawings(
    path: Path, annotations: list[Any], texts: Mapping[Any, str], problems: list[Problem]
) -> dict[Any, dict[str, _Drawing]]:
    """Image id -> text -> its drawing. Adds annotations that cannot be used to `problems`."""
    drawn: dict[Any, dict[str, _Drawing]] = defaultdict(lambda: defaultdict(_Drawing))
    points: dict[tuple[Any, str], int] = defaultdict(int)
    for number, annotation in enumerate(annotations, start=1):
        try:
            if not isinstance(annotation, dict):
                raise EntryError(f"An annotation is an object, got {kind_of(annotation)}.")
            image, category = annotation.get("image_id"), annotation.get("category_id")
            if not _is_id(image) or not _is_id(category) or category not in texts:
                raise EntryError("image_id and category_id must be ids that images and categories have.")
            outlines, runs = _segmentation(annotation.get("segmentation"))
            points[image, texts[category]] += sum(map(len, outlines))
            if points[image, texts[category]] > 2 * MAX_POINTS:
                raise EntryError(f"The polygons of '{texts[category]}' have more than {MAX_POINTS} points. Simplify.")
        except EntryError as error:
            problems.append(
                Problem(fault=Fault.BAD_ENTRY, file=f"{path.name}, annotation {number}", message=str(error))
            )
            continue
        drawing = drawn[image][texts[category]]
        drawing.outlines += outlines
        drawing.runs += runs
    return drawn


def _segmentation(value: Any) -> tuple[list[tuple[float, ...]], list[Runs]]:
    if isinstance(value, dict):
        return [], [_runs(value)]
    if not isinstance(value, list) or not value or not all(isinstance(polygon, list) for polygon in value):
        raise EntryError("'segmentation' must be a list of polygons or run lengths; boxes alone are not enough.")
    return [outline_of(polygon) for polygon in value], []


def _runs(value: Mapping[str, Any]) -> Runs:
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(_is_count(side) and side for side in size)):
        raise EntryError("The 'size' of run lengths must be [height, width] in pixels.")
    height, width = size
    if height * width > MAX_PIXELS:
        raise EntryError(f"Run lengths of {width} x {height} pixels; at most {MAX_PIXELS} are read.")
    try:
        numbers = unpacked(counts) if isinstance(counts, str) else tuple(counts) if isinstance(counts, list) else ()
    except ValueError as error:
        raise EntryError(f"The 'counts' cannot be read ({error}).") from error
    if not all(map(_is_count, numbers)) or sum(numbers) != height * width:
        raise EntryError(f"The 'counts' must be run lengths that add up to {height} x {width} pixels.")
    return Runs(size_px=(height, width), counts=numbers)


def _image(image: Any) -> tuple[Any, str, tuple[int, int] | None, str]:
    """Id, file name, size and group."""
    if not isinstance(image, dict):
        raise EntryError(f"An image is an object, got {kind_of(image)}.")
    key, file = image.get("id"), image.get("file_name")
    if not _is_id(key) or not isinstance(file, str) or not file or "\0" in file or len(file) > MAX_CELL_LETTERS:
        raise EntryError("An image must have an id and a file_name.")
    size = image.get("height"), image.get("width")
    if size == (None, None):
        return key, file, None, entry_group(image)
    if not all(_is_count(side) and side for side in size):
        raise EntryError("'width' and 'height' must both be whole numbers of pixels.")
    return key, file, (size[0], size[1]), entry_group(image)  # type: ignore[return-value]


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PIXELS
