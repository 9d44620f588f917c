"""The parts of a played search: which images choose, and which judge."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from tune_sa2va.data import Sample, split_by_group

VALIDATION = 0.15
"""Share of the images that score the trials of one split."""


class Part(NamedTuple):
    """Numbers of images, and the group of each."""

    images: Int[np.ndarray, " N"]
    groups: Int[np.ndarray, " N"]


def split_parts(groups: Int[np.ndarray, " N"], locked_share: float, *, seed: int) -> dict[str, Part]:
    """Train, val and test as the search's own function splits the groups."""
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
    """Train, val and test of the same sizes, of groups drawn with replacement; one drawn twice counts as two.

    No image was trained on by the adapter that scores it, so one may choose and judge: it then stands for two alike.
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
