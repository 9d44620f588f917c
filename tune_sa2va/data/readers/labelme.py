"""Reads a folder that LabelMe wrote: `NAME.json` beside `NAME.jpg`, each with shapes; a shape's label is its text.

Polygons and rectangles are read; any other shape is a problem. The picture is `imagePath`, relative to the folder of
the JSON, else the image of the same stem. A picture that is only embedded in the JSON is not read.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.readers.annotations import EntryError, outline_of
from tune_sa2va.data.readers.json_file import load_json
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
)
from tune_sa2va.data.readers.nothing import says_nothing
from tune_sa2va.data.sample import Polygons, Sample
from tune_sa2va.errors import DataError

_READ = ("polygon", "rectangle")


def labelme_files(root: Path) -> list[Path]:
    """LabelMe's JSON files in `root`, else in its `images/`, by name; none if the first JSON file is not LabelMe's."""
    for folder in (root, root / IMAGES):
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
        files = [path for path in files if not path.name.startswith(".") and path.is_file()]
        if files and _is_labelme(files[0]):
            return files
    return []


def read_labelme(root: Path, files: list[Path], *, allow_outside: bool, keep_absent: bool) -> Dataset:
    """The shapes in `files` as samples. A JSON file that is not LabelMe's is a problem.

    keep_absent: whether a label of the set that a picture lacks becomes a sample with an absent target.

    Raises:
        DataError: there are too many files.
    """
    if len(files) > MAX_ROWS:
        raise too_many(root, "files", MAX_ROWS)
    problems: list[Problem] = []
    drawn: dict[Path, tuple[dict[str, list[tuple[float, ...]]], tuple[int, int] | None]] = {}
    for path in files:
        where = name_in(root, path)
        try:
            content = load_json(path)
            outlines, size_px, image = _content(path, content)
        except (EntryError, DataError) as error:
            problems.append(Problem(fault=Fault.BAD_ENTRY, file=where, message=str(error)))
            continue
        if leads_out(root, image) and not allow_outside:
            problems.append(outside_problem(where, str(content.get("imagePath"))))
        elif not is_file(image):
            message = f"Its picture {name_in(root, image)} is not there. Put it beside the JSON."
            problems.append(Problem(fault=Fault.MISSING_IMAGE, file=where, message=message, names=(image.name,)))
        elif image in drawn:
            message = "Names a picture that another JSON has. Keep one."
            problems.append(Problem(fault=Fault.LISTED_TWICE, file=where, message=message))
        else:
            drawn[image] = outlines, size_px
    every_text = {text for outlines, _ in drawn.values() for text in outlines} if keep_absent else set()
    samples = []
    for image, (outlines, size_px) in drawn.items():
        name = name_in(root, image)
        if not outlines and not every_text:
            message = "No shape in its JSON. The image is left out; --absent keep keeps it."
            problems.append(Problem(fault=Fault.NOT_ANNOTATED, file=name, message=message))
        samples += [
            Sample(
                name=name,
                image=image,
                mask=Polygons(outlines=tuple(outlines.get(text, ())), size_px=size_px),
                group=group_from_name(name),
                text=text,
            )
            for text in every_text | outlines.keys()
        ]
    for image in image_files(files[0].parent):
        if image not in drawn and not image.with_suffix(".json").exists():
            message = "No JSON of LabelMe beside it. The image is left out."
            problems.append(Problem(fault=Fault.NOT_ANNOTATED, file=name_in(root, image), message=message))
    return Dataset(root=root, samples=in_order(samples), problems=tuple(problems))


def _is_labelme(path: Path) -> bool:
    try:
        content = load_json(path)
    except DataError:
        return False
    return isinstance(content, dict) and "shapes" in content


def _content(path: Path, content: Any) -> tuple[dict[str, list[tuple[float, ...]]], tuple[int, int] | None, Path]:
    """Outlines by text, (height, width) and the picture."""
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not isinstance(content, dict):
        raise EntryError("Has no list of shapes, so it is not LabelMe's. Move it away.")
    outlines: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for number, shape in enumerate(shapes, start=1):
        text = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(text, str) or not text.strip() or says_nothing(text) or len(text) > MAX_CELL_LETTERS:
            raise EntryError(f"Shape {number} has no label. Give it one in LabelMe.")
        outlines[text.strip()].append(_outline(number, shape))
        if sum(map(len, outlines[text.strip()])) > 2 * MAX_POINTS:
            raise EntryError(f"The polygons of '{text.strip()}' have more than {MAX_POINTS} points. Simplify them.")
    size = content.get("imageHeight"), content.get("imageWidth")
    height, width = (side if isinstance(side, int) and not isinstance(side, bool) else 0 for side in size)
    return dict(outlines), (height, width) if height > 0 and width > 0 else None, _picture(path, content)


def _outline(number: int, shape: dict[str, Any]) -> tuple[float, ...]:
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    if kind not in _READ:
        raise EntryError(
            f"Shape {number} is a '{str(kind)[:40]}'; {' and '.join(_READ)} are read. Draw it as a polygon."
        )
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise EntryError(f"The points of shape {number} must be pairs [x, y].")
    outline = outline_of([value for point in points for value in point])
    if kind == "polygon":
        return outline
    if len(outline) != 4:
        raise EntryError(f"Rectangle {number} must have two corners.")
    left, top, right, bottom = outline
    return left, top, right, top, right, bottom, left, bottom


def _picture(path: Path, content: dict[str, Any]) -> Path:
    """The picture that the JSON names, else the one of the same stem, else the path where it should be."""
    named = content.get("imagePath")
    folder = path.parent
    if isinstance(named, str) and named.strip() and "\0" not in named and len(named) <= MAX_CELL_LETTERS:
        for spelling in (named, named.replace("\\", "/")):
            if is_file(found := as_on_disk(Path(os.path.normpath(folder / spelling)))):
                return found
    same_stem = [image for image in image_files(folder) if image_stem(image) == path.stem]
    return same_stem[0] if same_stem else folder / path.with_suffix(".png").name
