"""The parts of a simulated search: which images are used to choose, and which to judge the choice."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from tune_sa2va.data import Sample, split_by_group

VALIDATION = 0.15
"""Share of the images that score trials with one split."""


class Part(NamedTuple):
    """images: their numbers. groups: the group of each."""

    images: Int[np.ndarray, " N"]
    groups: Int[np.ndarray, " N"]


def split_parts(groups: Int[np.ndarray, " N"], locked_share: float, *, seed: int) -> dict[str, Part]:
    """Train, val and test parts from the search's own split function."""
    samples = [
        Sample(name=f"{image:06d}", image=Path(), mask=Path(), group=str(group)) for image, group in enumerate(groups)
    ]
    split = split_by_group(samples, (1 - VALIDATION - locked_share, VALIDATION, locked_share), seed=seed)
    parts = {}
    for name in ("train", "val", "test"):
        images = np.array([image for image, sample in enumerate(split) if sample.split == name])
        parts[name] = Part(images, groups[images])
    return parts


def drawn_parts(groups: Int[np.ndarray, " N"], locked_share: float, *, seed: int) -> dict[str, Part]:
    """Train, val and test parts of the same sizes, with groups drawn with replacement; one drawn twice counts twice.

    The adapter that scores an image was not trained on it, so a group may be in several parts; it then stands for
    several similar groups.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    shares = {"train": 1 - VALIDATION - locked_share, "val": VALIDATION, "test": locked_share}
    parts, number = {}, 0
    for name, share in shares.items():
        drawn: list[np.ndarray] = []
        while sum(map(len, drawn)) < share * len(groups) - 0.5:
            drawn.append(members[random.integers(len(members))])
        numbers = np.repeat(np.arange(number, number + len(drawn)), [len(each) for each in drawn])
        parts[name], number = Part(np.concatenate(drawn), numbers), number + len(drawn)
    return parts
