"""Manifests and annotations that cannot be read, and entries that cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.making import rectangle_outline, save_pair, write_csv, write_json, write_parquet

from .case import Case

_GOOD = {"image": "images/good.png", "mask": "masks/good.png"}
_OUTLINE = rectangle_outline((2, 3, 10, 5))


def _case(name: str, write: Callable[[Path], object], *says: str, exit_code: int) -> Case:
    def make(folder: Path) -> list[str]:
        data = folder / "data"
        save_pair(data, "good.png", 0)
        save_pair(data, "other.png", 1)
        write(data)
        return ["data", "check", str(data), "--show-names"]

    return Case(name=f"list: {name}", make=make, says=says, exit_code=exit_code)


def _csv(name: str, content: bytes, *says: str) -> Case:
    """A manifest that cannot be read at all."""
    return _case(
        f"CSV, {name}",
        lambda data: (data / "manifest.csv").write_bytes(content),
        "manifest.csv",
        *says,
        exit_code=2,
    )


def _row(name: str, row: dict[str, str], *says: str) -> Case:
    """A manifest with one row that cannot be used."""
    columns = ("image", "mask", "group", "split", "text", "labels")
    return _case(
        f"row, {name}", lambda data: write_csv(data / "manifest.csv", [_GOOD, row], columns), *says, exit_code=1
    )


def _parquet(name: str, write: Callable[[Path], object], *says: str) -> Case:
    return _case(
        f"Parquet, {name}", lambda data: write(data / "manifest.parquet"), "manifest.parquet", *says, exit_code=2
    )


def _json(name: str, content: bytes, *says: str) -> Case:
    return _case(
        f"JSON, {name}",
        lambda data: (data / "annotations.json").write_bytes(content),
        "annotations.json",
        *says,
        exit_code=2,
    )


def _entry(name: str, entry: Any, *says: str) -> Case:
    good = {"image": "good.png", "mask": [_OUTLINE], "text": ["vessel"]}
    return _case(
        f"entry, {name}", lambda data: write_json(data / "annotations.json", [good, entry]), *says, exit_code=1
    )


def _of_other(**changed: Any) -> dict[str, Any]:
    return {"image": "other.png", "mask": [_OUTLINE], "text": ["vessel"]} | changed


def _run_of_rows(path: Path) -> None:
    """Few kilobytes that stand for 20 million rows."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000_000, pa.int8()), ["images/good.png"])
    pq.write_table(pa.table({"image": column, "mask": column}), path, compression="zstd")


def _long_cell(path: Path) -> None:
    """A text of 1 MB, named by each of 100,000 rows: 100 GB as a list."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int8()), ["x" * 1_000_000])
    pq.write_table(pa.table({"image": column, "mask": column}), path, compression="zstd")


def _column_of_lists(path: Path) -> None:
    pq.write_table(pa.table({"image": [["images/good.png"]], "mask": ["masks/good.png"]}), path)


def _cut_parquet(path: Path) -> None:
    write_parquet(path, [_GOOD])
    path.write_bytes(path.read_bytes()[:-20])


def _oversized(data: Path) -> None:
    with (data / "annotations.json").open("wb") as file:
        file.truncate(2**28 + 1)  # a hole: takes no room on the disk


def _coco(name: str, changed: dict[str, Any], *says: str, exit_code: int = 1) -> Case:
    """COCO's lists with one part that cannot be used."""
    good = {
        "images": [{"id": 1, "file_name": "good.png"}, {"id": 2, "file_name": "other.png"}],
        "categories": [{"id": 1, "name": "vessel"}],
        "annotations": [{"image_id": image, "category_id": 1, "segmentation": [_OUTLINE]} for image in (1, 2)],
    }
    return _case(
        f"COCO, {name}", lambda data: write_json(data / "instances.json", good | changed), *says, exit_code=exit_code
    )


def _drawn(segmentation: Any) -> dict[str, Any]:
    return {"annotations": [{"image_id": 1, "category_id": 1, "segmentation": segmentation}]}


def _labelme(name: str, shape: Any, *says: str) -> Case:
    def write(data: Path) -> None:
        good = {"label": "vessel", "points": [[2, 3], [10, 3], [10, 5]], "shape_type": "polygon"}
        for stem, shapes in (("good", [good]), ("other", [shape])):
            write_json(data / "images" / f"{stem}.json", {"shapes": shapes, "imagePath": f"{stem}.png"})
        (data / "masks").rename(data / "unused")

    return _case(f"LabelMe, {name}", write, "images/other.json", *says, exit_code=1)


def _nnunet(name: str, about: Any, *says: str) -> Case:
    def write(data: Path) -> None:
        (data / "images").rename(data / "imagesTr")
        (data / "masks").rename(data / "labelsTr")
        write_json(data / "dataset.json", about)

    return _case(f"nnU-Net, {name}", write, *says, exit_code=2)


LISTS = [
    _csv("empty", b"", "lacks image, mask", "Add them"),
    _csv("semicolons", b"image;mask\na;b\n", "lacks image, mask", "Add them"),
    _csv("misspelt column", b"image,mask,gruop\na,b,c\n", "'gruop'", "Did you mean 'group'? Rename it"),
    _csv("column twice", b"image,mask,mask\na,b,c\n", "is there twice", "Keep one"),
    _csv("Latin-1", "image,mask\nä,b\n".encode("latin-1"), "Save it as UTF-8 with commas"),
    _csv("quote left open", b'image,mask\n"a,b\n', "Save it as UTF-8 with commas"),
    _csv("a picture", b"\x89PNG\r\n\x1a\n" + bytes(99), "Save it as UTF-8 with commas"),
    _csv("two thousand columns", b"image,mask," + b"x," * 2_000 + b"y\n", "more than 1000 columns", "Split"),
    _row("no image", {"image": "", "mask": "masks/other.png"}, "line 3", "Fill it in, or remove the row"),
    _row("image not there", _GOOD | {"image": "images/no.png"}, "images/no.png", "line 3", "Add it"),
    _row("mask not there", {"image": "images/other.png", "mask": "no.png"}, "no.png", "line 3", "Add it"),
    _row("unknown split", _GOOD | {"split": "training"}, "line 3", "train, val, test", "got 'training'"),
    _row("listed twice", _GOOD, "images/good.png", "Keep one row"),
    _row("out by dots", _GOOD | {"image": "../secret.png"}, "line 3", "'../secret.png'", "--allow-outside"),
    _row("out by its root", _GOOD | {"mask": "/etc/passwd"}, "line 3", "'/etc/passwd'", "--allow-outside"),
    _row("a NUL in a name", _GOOD | {"image": "a\0b"}, "line 3", "--allow-outside"),
    _row("a very long name", _GOOD | {"image": "x" * 5_000}, "line 3", "more than 4096 letters", "Shorten it"),
    _row("terminal commands in a name", _GOOD | {"image": "\x1b[2J.png"}, "\\x1b[2J.png", "Add it"),
    _parquet("empty", lambda path: path.write_bytes(b""), "or use manifest.csv"),
    _parquet("text", lambda path: path.write_text("image,mask\n"), "or use manifest.csv"),
    _parquet("cut off", _cut_parquet, "or use manifest.csv"),
    _parquet("other columns", lambda path: write_parquet(path, [{"picture": "a", "label": "b"}]), "lacks image, mask"),
    _parquet("lists for texts", _column_of_lists, "'image' is of type list", "Write it as text"),
    _parquet("20 million rows", _run_of_rows, "more than 1000000 rows", "Split the data set"),
    _parquet("a text of 1 MB in each row", _long_cell, "'image'", "Shorten it"),
    _json("empty", b"", "cannot be read as JSON", "Write it again as UTF-8"),
    _json("unfinished", b"[", "cannot be read as JSON", "Write it again"),
    _json("an object", b"{}", "must hold a list of entries, got an object", "Write [entry, entry, ...]"),
    _json("a number", b"3", "must hold a list of entries, got a number"),
    _json("no number", b'[{"image": "good.png", "mask": [[NaN]]}]', "NaN is no JSON number", "Write it again"),
    _json("too deep", b"[" * 100_000, "cannot be read as JSON", "Write it again"),
    _json("UTF-16", json.dumps([_of_other()]).encode("utf-16"), "cannot be read as JSON", "as UTF-8"),
    _json("a number of 5,000 digits", b"[" + b"9" * 5_000 + b"]", "cannot be read as JSON", "Write it again"),
    _case("JSON, over 256 MiB", _oversized, "annotations.json", "268435457 bytes", "Split the data set", exit_code=2),
    _entry("a text", "other.png", "entry 2", "is an object with image, mask and text"),
    _entry("no image", {"mask": [_OUTLINE]}, "entry 2", "'image' must be a file name"),
    _entry("image not there", _of_other(image="no.png"), "images/no.png", "entry 2", "Add it, or remove the entry"),
    _entry("out by dots", _of_other(image="../../secret.png"), "entry 2", "--allow-outside"),
    _entry("out by its root", _of_other(image="/etc/passwd"), "entry 2", "'/etc/passwd'", "--allow-outside"),
    _entry("text no list", _of_other(text="vessel"), "entry 2", "'text' must be a list of texts"),
    _entry("odd polygon", _of_other(mask=[[1, 2, 3, 4, 5]]), "entry 2", "got 5 numbers", "an x and a y for each point"),
    _entry("text in a polygon", _of_other(mask=[[1, 2, 3, 4, 5, "6"]]), "entry 2", "a list of numbers"),
    _entry("number past floats", _of_other(mask=[[1, 2, 3, 4, 5, 10**400]]), "entry 2", "a list of numbers"),
    _entry("two points", _of_other(mask=[[1, 2, 3, 4]]), "images/other.png", "three different points", "redraw"),
    _entry("outside the image", _of_other(mask=[[0, 0, 99, 0, 99, 9]]), "32 x 24 pixels", "Was it scaled since?"),
    _entry("2 million points", _of_other(mask=[[1, 2] * 2_000_000]), "more than 1048576 points", "Simplify them"),
    _entry("shapes mixed", _of_other(mask=[_OUTLINE, [_OUTLINE]], text=["a", "b"]), "mixes", "Give a list of polygons"),
    _entry("polygons under another key", {"image": "other.png", "segmentation": [_OUTLINE]}, "Rename it to 'mask'"),
    _entry("a text twice", _of_other(mask=[[_OUTLINE], [_OUTLINE]], text=["a", "a"]), "has 'a' twice", "into one list"),
    _entry("a text that says nothing", _of_other(text=["nan"]), "'text' is 'nan'", "Name what the mask shows"),
    _entry("drawn on another size", _of_other(width=64, height=48), "the picture has 32 x 24", "Scale the polygons"),
    _entry("half a size", _of_other(width=64), "'width' and 'height'", "remove both"),
    _entry("a group of nobody", _of_other(group=" "), "'group' names nobody", "remove the key"),
    _entry("a misspelt key", _of_other(gruop="P1"), "unknown key 'gruop'", "Did you mean 'group'? Rename it"),
    _entry("an outline in another", _of_other(mask=[_OUTLINE, [4, 4, 6, 4, 6, 5]]), "1 of 2", "--outlines even-odd"),
    _row(
        "labels that are none", _GOOD | {"image": "images/other.png", "labels": "artery"}, "line 3", "1=artery,2=vein"
    ),
    _row("text and labels", _GOOD | {"text": "a", "labels": "1=b"}, "line 3", "Leave one of them empty"),
    _row("a value without label", _GOOD | {"image": "images/other.png", "labels": "1=a"}, "have no label", "Name them"),
    _coco("a box alone", {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}, "boxes alone"),
    _coco("run lengths that do not add up", _drawn({"size": [24, 32], "counts": [3]}), "add up to 24 x 32"),
    _coco("huge run lengths", _drawn({"size": [10**6, 10**6], "counts": [10**12]}), "at most 67108864"),
    _coco("no packed text", _drawn({"size": [24, 32], "counts": "~~"}), "cannot be read"),
    _coco("an unknown category", {"categories": [{"id": 9, "name": "x"}]}, "annotation 1", "must be ids"),
    _coco("a category without name", {"categories": [{"id": 1}]}, "category 1", "Fill them in", exit_code=2),
    _coco("out by dots", {"images": [{"id": 1, "file_name": "../../s.png"}]}, "'../../s.png'", "--allow-outside"),
    _labelme(
        "a circle", {"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "circle"}, "'circle'", "as a polygon"
    ),
    _labelme("no label", {"points": [[1, 2], [3, 4], [5, 6]]}, "no label", "Give it one"),
    _nnunet("volumes", {"labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}, "volumes", "as PNG"),
    _nnunet("no labels", {}, "must be an object with labels", "as nnU-Net does"),
    _nnunet("pixels to ignore", {"labels": {"background": 0, "a": 1, "ignore": 2}}, "ignore", "a label of their own"),
    _entry("one text short", _of_other(mask=[[_OUTLINE]], text=["a", "b"]), "for 1 texts, but there are 2"),
]
