"""Rasterises outlines exactly as pycocotools does, whose rules Sa2VA's reference data sets follow.

The convention (`rleFrPoly` in maskApi.c of cocodataset/cocoapi): corners are rounded to fifths of a pixel, and edges
are walked in steps of a fifth. Edges cut each column of pixels along its centre line; pixels between the first and
second cut, the third and fourth, and so on, are inside. So integer coordinates lie on pixel corners: the rectangle
0, 0, 2, 0, 2, 2, 0, 2 covers 2 x 2 pixels. Parts outside the image are cut off.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from tune_sa2va.config import OutlineRule

_STEPS = 5
"""Steps per pixel in which edges are walked."""

_LEFT_OF_CENTRE = 2
"""The centre line of a column lies between this step and the next, of its five."""

_CUTS_AT_ONCE = 2**22
_FARTHEST = 2.0**40

Window = tuple[slice, slice]


def rasterise(
    outlines: Sequence[Sequence[float]], height: int, width: int, rule: OutlineRule = "union"
) -> Bool[np.ndarray, "H W"]:
    """The mask of `outlines`, each a flat (x1, y1, x2, y2, ...) in pixels; the last point connects to the first.

    rule: `union`: pixels inside any outline; `even-odd`: pixels inside an odd number of different outlines, so that an
    outline inside another cuts a hole.
    """
    mask_HW = np.zeros((height, width), dtype=bool)
    for outline in outlines if rule == "union" else _without_repeats(outlines):
        for window, inside in _covered(outline, height, width):
            if rule == "union":
                mask_HW[window] |= inside
            else:
                mask_HW[window] ^= inside
    return mask_HW


def nested(outlines: Sequence[Sequence[float]], height: int, width: int) -> list[int]:
    """The positions in `outlines` of those that add no pixel to the larger ones: holes, or drawn on top of others.

    Repeats of an outline, and outlines that cover no pixel, do not count.
    """
    found = []
    mask_HW = np.zeros((height, width), dtype=bool)
    distinct = {tuple(outline): position for position, outline in reversed(list(enumerate(outlines)))}
    for outline, position in sorted(distinct.items(), key=lambda item: (-_extent(item[0]), item[1])):
        adds = covers = False
        for window, inside in _covered(outline, height, width):
            covers |= bool(inside.any())
            adds |= bool((inside & ~mask_HW[window]).any())
            mask_HW[window] |= inside
        if covers and not adds:
            found.append(position)
    return sorted(found)


def _without_repeats(outlines: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return list(dict.fromkeys(tuple(outline) for outline in outlines))


def _extent(outline: Sequence[float]) -> float:
    """The area of the outline's bounding box."""
    if not outline:
        return 0.0
    x, y = np.asarray(outline, dtype=np.float64).reshape(-1, 2).T
    return float(np.ptp(x) * np.ptp(y))


def _covered(
    outline: Sequence[float], height: int, width: int
) -> Iterator[tuple[Window, Bool[np.ndarray, "rows columns"]]]:
    """Windows of the image, side by side, each with the mask of the pixels that the outline encloses."""
    corners = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
    if not len(corners) or not height or not width:
        return
    # Truncated toward zero like a cast in C. Far corners are clipped, so that floats hold them exactly.
    x, y = np.trunc(np.clip(_STEPS * corners + 0.5, -_FARTHEST, _FARTHEST)).T
    left, right = (int(np.clip(_column_after(edge), 0, width)) for edge in (x.min(), x.max()))
    # Every edge may cut every column, so all cuts at once could fill the memory.
    columns = max(1, _CUTS_AT_ONCE // max(len(x), height + 1))
    for start in range(left, right, columns):
        stop = min(start + columns, right)
        column, row = _cuts(x, y, start, stop)
        row = np.clip(row, 0, height)
        if not len(row):
            continue
        top, bottom = int(row.min()), int(row.max())
        rows = bottom - top + 1
        cuts = np.bincount((column - start) * rows + row - top, minlength=(stop - start) * rows)
        inside = np.cumsum(cuts.reshape(stop - start, rows)[:, :-1], axis=1) % 2 == 1
        yield (slice(top, bottom), slice(start, stop)), inside.T


def _column_after(u: float | Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """The first column whose centre line lies to the right of step `u`."""
    return np.ceil((np.asarray(u) - _LEFT_OF_CENTRE) / _STEPS)


def _cuts(
    x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"], start: int, stop: int
) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
    """(column, row) of every cut of an edge with the centre line of a column, from `start` up to before `stop`.

    row: the first pixel below the cut; it may lie outside the image.
    """
    x0, y0, x1, y1 = x, y, np.roll(x, -1), np.roll(y, -1)
    wide = np.abs(x1 - x0) >= np.abs(y1 - y0)
    # Each edge is walked from its lower end, on the axis along which it is longer.
    turned = np.where(wide, x0 > x1, y0 > y1)
    x0, x1 = np.where(turned, x1, x0), np.where(turned, x0, x1)
    y0, y1 = np.where(turned, y1, y0), np.where(turned, y0, y1)
    first = np.clip(_column_after(np.minimum(x0, x1)), start, stop).astype(np.int64)
    cuts_of_edge = np.clip(_column_after(np.maximum(x0, x1)), start, stop).astype(np.int64) - first
    edge = np.repeat(np.arange(len(x)), cuts_of_edge)
    column = first[edge] + np.arange(len(edge)) - (np.cumsum(cuts_of_edge) - cuts_of_edge)[edge]
    u = _STEPS * column + _LEFT_OF_CENTRE  # the cut lies between this step and the next
    x0, y0, x1, y1, wide = x0[edge], y0[edge], x1[edge], y1[edge], wide[edge]
    v = np.empty(len(edge))
    v[wide] = _upper_step_of_wide(*(values[wide] for values in (x0, y0, x1, y1, u)))
    v[~wide] = _upper_step_of_tall(*(values[~wide] for values in (x0, y0, x1, y1, u)))
    return column, np.ceil((v + 0.5) / _STEPS - 0.5).astype(np.int64)


Steps = Float[np.ndarray, " M"]


def _upper_step_of_wide(x0: Steps, y0: Steps, x1: Steps, y1: Steps, u: Steps) -> Steps:
    """The smaller y of the steps at `u` and `u` + 1, for edges that are walked along x."""
    slope = (y1 - y0) / (x1 - x0)
    ends = (np.trunc(y0 + slope * (at - x0) + 0.5) for at in (u, u + 1))
    return np.minimum(*ends)


def _upper_step_of_tall(x0: Steps, y0: Steps, x1: Steps, y1: Steps, u: Steps) -> Steps:
    """The y of the last step before x passes between `u` and `u` + 1, for edges that are walked along y."""
    slope = (x1 - x0) / (y1 - y0)

    def has_passed(step: Steps) -> Bool[np.ndarray, " M"]:
        at = np.trunc(x0 + slope * step + 0.5)
        return np.where(slope > 0, at > u, at <= u)

    step = np.ceil((u + 0.5 - x0) / slope)
    step -= has_passed(step - 1)  # the division's rounding may be off by one step
    step += ~has_passed(step)
    return y0 + step - 1
