"""`Sample`: an image file with a mask, a group and a text. A data set, once read, is a tuple of samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune_sa2va.config import OutlineRule

Split = Literal["train", "val", "test"]

DEFAULT_TEXT = "blood vessel"
"""What a mask shows if the data set does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """A mask as COCO's run lengths: pixels column by column, alternately outside and inside, starting outside.

    size_px: (height, width); the counts add up to their product.
    """

    size_px: tuple[int, int]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Polygons:
    """A mask given as outlines: each a flat (x1, y1, x2, y2, ...) in pixels of the image.

    runs: further parts of the mask, given as run lengths. Without outlines and runs, the target is absent on purpose.
    rule: how outlines make the mask; None: not said, which matters only if one outline lies inside another.
    size_px: (height, width) of the picture that they were drawn on; None: not said.
    """

    outlines: tuple[tuple[float, ...], ...]
    rule: OutlineRule | None = None
    size_px: tuple[int, int] | None = None
    runs: tuple[Runs, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A mask that is part of a label map: the pixels of `file` that hold one of `values`.

    known: all values that the file may hold, background included. Values are decimal grey values, or colours written
    as `#ff0000` (greys by their value).
    """

    file: Path
    values: tuple[str, ...]
    known: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image with the truth for one text.

    name: the image's path relative to the data set's folder, with forward slashes; unique together with `text`.
    mask: a mask file (the brighter of its two values is vessel), a label of a label map, or outlines.
    group: what must stay on one side of a split: a patient or a video.
    split: the part that the data set itself gives, or that a split has given; None: not split yet.
    text: what the mask shows; it becomes the question "Please segment the {text}."
    fold: the fold that the image is in, from 0; None with one split, and in the test part.
    """

    name: str
    image: Path
    mask: Path | Label | Polygons
    group: str
    split: Split | None = None
    text: str = DEFAULT_TEXT
    fold: int | None = None
