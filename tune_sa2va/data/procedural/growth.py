"""Vessel geometry: smooth random curves, one whole level of a tree at a time.

Coordinates are in side lengths of the image (x right, y down), so that a scene is the same at every size. Shape
letters: `B` branches, `P` points of a branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Branches:
    """One level of a tree: points (B, P, 2) and radii (B, P), both in side lengths."""

    points: Floats
    radii: Floats

    def __len__(self) -> int:
        return len(self.points)

    def pick(self, which: NDArray[np.bool_]) -> "Branches":
        """The branches where `which` (B,) is true."""
        return Branches(self.points[which], self.radii[which])


def stems(levels: Sequence[Branches], points: int) -> Branches:
    """All branches of some levels as one level, each resampled to `points` points: the parents of the next level."""
    picked = [np.linspace(0, level.radii.shape[1] - 1, points).round().astype(int) for level in levels]
    return Branches(
        np.concatenate([level.points[:, at] for level, at in zip(levels, picked, strict=True)]),
        np.concatenate([level.radii[:, at] for level, at in zip(levels, picked, strict=True)]),
    )


def walk(
    rng: np.random.Generator,
    start: Floats,
    heading: Floats,
    length: Floats,
    bend: Floats,
    wiggle: Floats,
    wavelength: float,
    points: int,
) -> Floats:
    """Curves (B, P, 2) from start (B, 2) that turn by `bend` (B,) radians in all and snake by `wiggle` (B,) radians.

    The snaking is four sine waves around `wavelength` side lengths, with random phases: no kinks, no drift.
    """
    s = np.linspace(0, 1, points)[None, :]
    branches = len(start)
    # Uneven bending: a vessel turns at some places more than at others.
    skew = rng.uniform(0.6, 1.6, (branches, 1))
    angle = heading[:, None] + bend[:, None] * s**skew
    # More waves than points can carry would turn into kinks.
    waves = np.minimum(length / wavelength, points / 6)[:, None]
    # Straighter at one end than at the other, as vessels are from trunk to tip.
    calm = rng.uniform(0, 1, (branches, 1))
    envelope = 1 - calm + 1.6 * calm * s
    for octave, weight in ((0.37, 0.8), (1.0, 1.0), (2.1, 0.5), (4.3, 0.25)):
        rate = 2 * np.pi * waves * octave * rng.uniform(0.75, 1.3, (branches, 1))
        phase = rng.uniform(0, 2 * np.pi, (branches, 1))
        amplitude = wiggle[:, None] * weight * rng.uniform(0.4, 1.2, (branches, 1))
        angle = angle + envelope * amplitude * (np.sin(rate * s + phase) - np.sin(phase))
    step = (length / (points - 1))[:, None]
    dx = np.cumsum(np.cos(angle) * step, axis=1) - np.cos(angle[:, :1]) * step
    dy = np.cumsum(np.sin(angle) * step, axis=1) - np.sin(angle[:, :1]) * step
    return start[:, None, :] + np.stack([dx, dy], axis=2)


def taper(rng: np.random.Generator, first: Floats, last: Floats, points: int, unevenness: float = 0.06) -> Floats:
    """Radii (B, P) that go from `first` to `last` (both (B,)), with a slow unevenness (share of the radius)."""
    s = np.linspace(0, 1, points)[None, :]
    radii = first[:, None] * (1 - s) + last[:, None] * s
    phase = rng.uniform(0, 2 * np.pi, (len(first), 2, 1))
    waves = np.sin(2 * np.pi * 2.3 * s + phase[:, 0]) + 0.7 * np.sin(2 * np.pi * 6.1 * s + phase[:, 1])
    return radii * (1 + unevenness * waves)


def narrow(rng: np.random.Generator, branches: Branches, chance: float) -> Branches:
    """The branches, each with a stenosis (or a bulge, one in five) with probability `chance`."""
    count, points = branches.radii.shape
    s = np.linspace(0, 1, points)[None, :]
    centre, width = rng.uniform(0.1, 0.9, (count, 1)), rng.uniform(0.02, 0.09, (count, 1))
    depth = np.where(
        rng.random((count, 1)) < 0.8, rng.uniform(0.3, 0.8, (count, 1)), -rng.uniform(0.2, 0.6, (count, 1))
    )
    depth = np.where(rng.random((count, 1)) < chance, depth, 0.0)
    return Branches(branches.points, branches.radii * (1 - depth * np.exp(-(((s - centre) / width) ** 2))))


def sprout(
    rng: np.random.Generator,
    parents: Branches,
    count: int,
    *,
    angle: tuple[float, float],
    length: tuple[float, float],
    radius: tuple[float, float],
    end_radius: float,
    bend: float,
    wiggle: float,
    wavelength: float,
    points: int,
    side: float = 0.0,
    along: tuple[float, float] = (0.05, 0.97),
) -> Branches:
    """`count` children that branch off at random points of the parents; long parents get more.

    angle: range of the branching angle, radians. length: range of the length, side lengths. radius: range of a child's
    first radius, as a share of the parent's radius there. end_radius: a child's last radius, as a share of its first.
    bend: most bending of a child, radians. wiggle, wavelength: as in `walk`. points: points per child. side: in -1..1,
    how strongly children prefer one side. along: the part of a parent where children begin, in 0..1.
    """
    if len(parents) == 0 or count <= 0:
        return Branches(np.zeros((0, points, 2)), np.zeros((0, points)))
    parent_points = parents.radii.shape[1]
    steps = np.diff(parents.points, axis=1)
    lengths = np.sqrt((steps**2).sum(2)).sum(1)
    mother = rng.choice(len(parents), count, p=lengths / lengths.sum())
    place = np.minimum((rng.uniform(*along, count) * (parent_points - 1)).astype(int), parent_points - 2)
    tangent = steps[mother, place]
    sign = np.where(rng.random(count) < 0.5 * (1 + side), 1.0, -1.0)
    heading = np.arctan2(tangent[:, 1], tangent[:, 0]) + sign * rng.uniform(*angle, count)
    first = parents.radii[mother, place] * rng.uniform(*radius, count)
    # Children lean back towards the parent's direction more often than away from it.
    turn = -sign * rng.uniform(-0.4, 1.0, count) * bend
    line = walk(
        rng,
        parents.points[mother, place],
        heading,
        rng.uniform(*length, count),
        turn,
        np.full(count, wiggle) * rng.uniform(0.4, 1.6, count),
        wavelength,
        points,
    )
    return Branches(line, taper(rng, first, first * end_radius, points))
