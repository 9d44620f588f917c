"""Coronary trees: one long C (right artery), a fan from one trunk (left artery), or anything in between."""

import numpy as np

from tune_sa2va.data.procedural.growth import Branches, Floats, narrow, sprout, stems, taper, walk

MAIN_POINTS = 64


def coronary_tree(rng: np.random.Generator) -> list[Branches]:
    """Levels of a tree in side lengths, mains first, placed so that most of it is in the image."""
    wavelength = rng.uniform(0.1, 0.35)
    wiggle = float(rng.uniform(0.03, 0.2) if rng.random() < 0.6 else rng.uniform(0.2, 0.6))
    kind = rng.choice(["right", "left", "free"], p=[0.38, 0.42, 0.2])
    if kind == "right":
        mains = _right(rng, wiggle * 0.5, wavelength)
        first_count, second_count = int(rng.integers(2, 8)), int(rng.integers(2, 14))
    elif kind == "left":
        mains = _left(rng, wiggle, wavelength)
        first_count, second_count = int(rng.integers(4, 13)), int(rng.integers(3, 20))
    else:
        mains = _free(rng, wiggle, wavelength)
        first_count, second_count = int(rng.integers(1, 12)), int(rng.integers(0, 20))
    mains = narrow(rng, mains, 0.4)
    first = sprout(
        rng, mains, first_count, angle=(0.35, 1.3), length=(0.15, 0.75), radius=(0.35, 0.85), end_radius=0.45, bend=1.2,
        wiggle=wiggle * 1.1, wavelength=wavelength, points=40, side=rng.uniform(-0.9, 0.9),
    )  # fmt: skip
    first = narrow(rng, first, 0.2)
    second = sprout(
        rng, stems([mains, first], 24), second_count, angle=(0.3, 1.4), length=(0.06, 0.4), radius=(0.25, 0.65),
        end_radius=0.5, bend=1.2, wiggle=wiggle * 1.4, wavelength=wavelength * 0.6, points=24,
    )  # fmt: skip
    levels = [mains, first, second]
    if rng.random() < 0.6:
        mothers = stems([level for level in (first, second) if len(level)] or [mains], 20)
        levels.append(
            sprout(
                rng, mothers, int(rng.integers(3, 30)), angle=(0.3, 1.4), length=(0.03, 0.22), radius=(0.3, 0.75),
                end_radius=0.6, bend=1.5, wiggle=0.5, wavelength=0.08, points=14,
            )
        )  # fmt: skip
    return _placed(rng, levels)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _mains(
    rng: np.random.Generator, start: Floats, heading: Floats, length: Floats, bend: Floats, radius: Floats, keep: float,
    wiggle: float, wavelength: float,
) -> Branches:  # fmt: skip
    points = walk(rng, start, heading, length, bend, np.full(len(start), wiggle), wavelength, MAIN_POINTS)
    return Branches(points, taper(rng, radius, radius * keep, MAIN_POINTS))


def _right(rng: np.random.Generator, wiggle: float, wavelength: float) -> Branches:
    """A C that goes down and turns towards the apex, and sometimes forks at its end."""
    start = np.array([[rng.uniform(0.1, 0.6), rng.uniform(-0.02, 0.2)]])
    radius = np.array([_log_uniform(rng, 0.009, 0.03)])
    heading, bend = np.array([rng.uniform(1.4, 2.9)]), np.array([-rng.uniform(1.0, 3.8)])
    keep = rng.uniform(0.4, 0.9)
    trunk = _mains(rng, start, heading, rng.uniform(0.9, 1.8, 1), bend, radius, keep, wiggle, wavelength)
    if rng.random() < 0.4:
        return trunk
    forks = int(rng.integers(1, 3))
    at = int(rng.integers(MAIN_POINTS // 2, MAIN_POINTS - 2))
    tangent = trunk.points[0, at + 1] - trunk.points[0, at]
    heading = np.arctan2(tangent[1], tangent[0]) + rng.choice([-1, 1]) * rng.uniform(0.2, 1.0, forks)
    fork = _mains(
        rng, np.repeat(trunk.points[:, at], forks, 0), heading, rng.uniform(0.2, 0.6, forks),
        rng.uniform(-1.2, 1.2, forks), trunk.radii[0, at] * rng.uniform(0.5, 0.9, forks), 0.5, wiggle * 1.5, wavelength,
    )  # fmt: skip
    return stems([trunk, fork], MAIN_POINTS)


def _left(rng: np.random.Generator, wiggle: float, wavelength: float) -> Branches:
    """A short trunk with two or three arms that fan out from its end."""
    start = np.array([[rng.uniform(-0.02, 0.5), rng.uniform(-0.02, 0.3)]])
    radius = _log_uniform(rng, 0.008, 0.023)
    lead = rng.uniform(-0.3, 0.7)
    trunk = _mains(
        rng, start, np.array([lead]), rng.uniform(0.04, 0.3, 1), rng.uniform(-0.5, 0.5, 1), np.array([radius]), 0.95,
        wiggle * 0.4, wavelength,
    )  # fmt: skip
    arms = int(rng.integers(2, 5))
    heading = lead + np.linspace(-0.6, 1.5, arms) + rng.normal(0, 0.25, arms)
    # The arms follow the outside of the heart: they turn back towards the apex.
    bend = np.linspace(0.9, -0.5, arms) + rng.normal(0, 0.5, arms)
    fan = _mains(
        rng, np.repeat(trunk.points[:, -1], arms, 0), heading, rng.uniform(0.5, 1.15, arms), bend,
        radius * rng.uniform(0.55, 1.0, arms), rng.uniform(0.3, 0.6), wiggle, wavelength,
    )  # fmt: skip
    return stems([trunk, fan], MAIN_POINTS)


def _free(rng: np.random.Generator, wiggle: float, wavelength: float) -> Branches:
    """One to four vessels that cross the image in any direction."""
    count = int(rng.integers(1, 5))
    where = rng.uniform(-0.05, 1.05, (count, 2))
    aim = rng.uniform(0.2, 0.8, (count, 2)) - where
    radius = np.array([_log_uniform(rng, 0.004, 0.022) for _ in range(count)])
    return _mains(
        rng, where, np.arctan2(aim[:, 1], aim[:, 0]), rng.uniform(0.4, 1.3, count), rng.uniform(-2.2, 2.2, count),
        radius, 0.5, wiggle, wavelength,
    )  # fmt: skip


def _placed(rng: np.random.Generator, levels: list[Branches]) -> list[Branches]:
    """The tree mirrored, turned (projections come from many angles), sized and moved into the image."""
    flip = np.array([-1.0 if rng.random() < 0.45 else 1.0, -1.0 if rng.random() < 0.1 else 1.0])
    angle = rng.uniform(-0.6, 0.6) if rng.random() < 0.85 else rng.uniform(-3.2, 3.2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    spread = (levels[0].points.reshape(-1, 2) * flip) @ turn
    low, high = np.percentile(spread, 2, axis=0), np.percentile(spread, 98, axis=0)
    extent = float((high - low).max())
    zoom = np.clip(rng.uniform(0.7, 1.25) / max(extent, 0.1), 0.7, 1.5)
    slack = np.maximum(1 - (high - low) * zoom, 0.15)
    shift = 0.5 + rng.uniform(-0.5, 0.5, 2) * slack - (low + high) / 2 * zoom
    return [Branches((level.points * flip) @ turn * zoom + shift, level.radii * np.sqrt(zoom)) for level in levels]
