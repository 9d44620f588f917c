"""What a data set is, once read: a tuple of `Sample`, each an image file with a vessel mask, a group and a text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune_sa2va.config import OutlineRule

Split = Literal["train", "val", "test"]

DEFAULT_TEXT = "blood vessel"
"""What a mask shows where the data set does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """A mask as COCO's run lengths: pixels column by column, out and in by turns, starting with out.

    size_px: (height, width); the counts add up to their product.
    """

    size_px: tuple[int, int]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Polygons:
    """A mask given as outlines: each a flat (x1, y1, x2, y2, ...) in pixels of the image.

    runs: further parts of it, given as run lengths. Empty of both, nothing is there on purpose.

    rule: how outlines make the mask; None where nobody has said, which matters only where one lies inside another.
    size_px: (height, width) of the picture that they were drawn on, where the list says so.
    """

    outlines: tuple[tuple[float, ...], ...]
    rule: OutlineRule | None = None
    size_px: tuple[int, int] | None = None
    runs: tuple[Runs, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A mask that is a part of a label map: the pixels of `file` that hold one of `values`.

    values, known: grey values in decimals, or colours as `#ff0000` (greys by their value). known: all that the file may
    hold, background included.
    """

    file: Path
    values: tuple[str, ...]
    known: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image with the truth for one text.

    name: the image's path relative to the data set's folder, with forward slashes; unique together with `text`.
    mask: a mask file (non-zero is vessel), a label of one, or outlines.
    group: what must stay on one side of a split (a patient or a video).
    split: the part asked for by the data set itself, None where it leaves that to us.
    text: what the mask shows; it becomes the question "Please segment the {text}."
    fold: which of the folds the image is in, from 0; None where the data are cut once into train and val, and in the
    test part.
    """

    name: str
    image: Path
    mask: Path | Label | Polygons
    group: str
    split: Split | None = None
    text: str = DEFAULT_TEXT
    fold: int | None = None
