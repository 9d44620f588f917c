"""Draws with Pillow at twice the size and averages down: antialiased edges at Pillow's speed."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from tune_sa2va.data.procedural.growth import Branches, Floats
from tune_sa2va.data.procedural.scene import Field, Mask

SUPERSAMPLING = 2
# From this width, in supersampled pixels, gaps show at the bends of a line; discs fill them.
ROUNDED_FROM = 6


class Canvas:
    """A grey layer (size, size) in 0..1, drawn at SUPERSAMPLING times its size. Coordinates are in side lengths."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = size * SUPERSAMPLING
        self._image = Image.new("L", (self.scale, self.scale))
        self._draw = ImageDraw.Draw(self._image)

    def tube(self, points: Floats, radii: Floats, value: float, shrink: float = 1.0, least_px: float = 0.5) -> None:
        """A curve (P, 2) of varying radius (P,), filled with `value`: `tubes` for one branch."""
        self.tubes(Branches(points[None], radii[None]), np.array([value]), shrink, least_px)

    def tubes(self, branches: Branches, values: Floats, shrink: float = 1.0, least_px: float = 0.5) -> None:
        """Curves of varying radius, each filled with its value (B,); `shrink` scales all widths.

        Points with a radius of zero or less are left out. least_px: the smallest width drawn, image pixels. Runs of
        equal (rounded) width go to Pillow as one line, which is several times faster than a call per segment.
        """
        xy = (branches.points * self.scale).reshape(len(branches), 2 * branches.radii.shape[1]).tolist()
        wanted = np.rint(branches.radii * (2 * shrink * self.scale))
        all_widths = np.where(branches.radii > 0, np.maximum(wanted, round(least_px * SUPERSAMPLING)), 0).astype(int)
        changes = all_widths[:, 1:] != all_widths[:, :-1]
        last = all_widths.shape[1]
        for flat, widths, change, value in zip(xy, all_widths, changes, values, strict=True):
            fill, begin = round(float(value) * 255), 0
            for end in [*(np.flatnonzero(change) + 1).tolist(), last]:
                width = int(widths[begin])
                if width > 0:
                    # One more point at both ends, so that runs connect.
                    self._draw.line(flat[max(0, 2 * begin - 2) : 2 * end + 2], fill=fill, width=width)
                    if width >= ROUNDED_FROM:
                        half = width / 2
                        for k in range(2 * begin, 2 * end, 2):
                            x, y = flat[k], flat[k + 1]
                            self._draw.ellipse((x - half, y - half, x + half - 1, y + half - 1), fill=fill)
                begin = end

    def polygon(self, corners: Floats, value: float = 1.0) -> None:
        """A filled polygon (P, 2)."""
        self._draw.polygon((corners * self.scale).ravel().tolist(), fill=round(value * 255))

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, value: float = 1.0) -> None:
        """A filled upright ellipse."""
        box = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        self._draw.ellipse([v * self.scale for v in box], fill=round(value * 255))

    def field(self) -> Field:
        """The layer averaged down to float32 (size, size) in 0..1."""
        return np.asarray(self._image.reduce(SUPERSAMPLING), np.float32) * np.float32(1 / 255)

    def mask(self, least: float = 0.5) -> Mask:
        """Pixels (size, size) covered by at least the share `least`."""
        return np.asarray(self._image.reduce(SUPERSAMPLING)) >= math.ceil(least * 255)


def blob(rng: np.random.Generator, x: float, y: float, radius: float, roughness: float, corners: int = 24) -> Floats:
    """The outline (corners, 2) of an irregular round patch."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    shape = np.ones(corners)
    for k in (2, 3, 5):
        shape += roughness / k * 1.5 * rng.standard_normal() * np.cos(k * angle + rng.uniform(0, 6.3))
    shape = np.maximum(shape, 0.2) * radius
    return np.stack([x + shape * np.cos(angle), y + shape * np.sin(angle)], axis=1)


# Outer to inner shells of a contrast-filled tube: (share of the radius, share of the depth: about sqrt(1 - r**2)).
ROUND_PROFILE = ((1.0, 0.5), (0.82, 0.75), (0.55, 0.93), (0.25, 1.0))
FLAT_PROFILE = ((1.0, 1.0),)
# Branches up to this wide, image pixels, are drawn without shells.
THIN_PX = 3.0


def draw_depth(
    canvas: Canvas, levels: Sequence[Branches], profile: Iterable[tuple[float, float]], power: float, widest: float
) -> None:
    """Draws branches as contrast depth: value = (radius / widest) ** power, shells as in `profile`, thin ones first."""
    sized = []
    for level in reversed(levels):
        order = np.argsort(level.radii.max(axis=1, initial=0.0))
        ordered = Branches(level.points[order], level.radii[order])
        radius = ordered.radii.max(axis=1, initial=0.0)
        sized.append((ordered, np.minimum(1.0, (radius / widest) ** power), radius * 2 * canvas.size))
    # Shell by shell over all branches, so that the rim of one does not cut through the core of another.
    for shell, (shrink, share) in enumerate(profile):
        for level, depth, width_px in sized:
            if shell == 0:
                thin = width_px <= THIN_PX
                # A line narrower than half a pixel is drawn at half a pixel but fainter.
                canvas.tubes(level.pick(thin), (depth * np.minimum(1.0, width_px / 0.7))[thin])
            wide = width_px > THIN_PX
            canvas.tubes(level.pick(wide), depth[wide] * share, shrink)


def draw_truth(canvas: Canvas, levels: Sequence[Branches], least_width_px: float = 1.0) -> None:
    """Draws branches as truth; none is drawn thinner than `least_width_px` image pixels."""
    for level in levels:
        canvas.tubes(level, np.ones(len(level)), least_px=least_width_px)
