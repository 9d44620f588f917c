"""What an angiogram shows besides arteries: anatomy, wires, collimator, motion ghosts, burned-in text.

A network trained without these has most of its false positives on catheters and on the rims of collimators, so both are
frequent and varied here. Functions return fields or masks of (size, size); lengths are in side lengths.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tune_sa2va.data.procedural.growth import Branches, Floats, taper, walk
from tune_sa2va.data.procedural.raster import Canvas, blob
from tune_sa2va.data.procedural.scene import Field, Mask
from tune_sa2va.data.procedural.texture import blur, enlarge, grid, ramp, smooth_noise

# Large soft structures are computed on a grid this coarse, then enlarged.
COARSE = 128


class Layer:
    """Radio-opaque things that are not vessels, with one canvas per text."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._depth = Canvas(size)
        self._truths: dict[str, Canvas] = {}
        self.strength = 0.0

    def tube(self, text: str, points: Floats, radii: Floats, value: float, hollow: bool = False) -> None:
        """Draws a curve into the depth and into the truth of `text`; hollow ones have a lighter bore."""
        self._depth.tube(points, radii, value)
        if hollow:
            self._depth.tube(points, radii, value * 0.45, 0.55)
        self._truths.setdefault(text, Canvas(self.size)).tube(points, radii, 1.0, least_px=1.0)
        self.strength = max(self.strength, value)

    def depth(self) -> Field:
        """The depth of everything drawn, in 0..1."""
        return self._depth.field()

    def masks(self) -> dict[str, Mask]:
        """One mask per text drawn so far."""
        return {text: canvas.mask() for text, canvas in self._truths.items()}


def catheter(rng: np.random.Generator, layer: Layer, ostium: Floats, vessel_radius: float) -> None:
    """A smooth tube of constant width that enters at a border and ends at the ostium with a hook."""
    count = 1 if rng.random() < 0.75 else 2
    for k in range(count):
        if k == 0 and rng.random() < 0.7:
            end, heading = ostium, rng.uniform(-np.pi, 0) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
            length, hook = rng.uniform(0.5, 1.4), rng.normal(0, 1.3)
        else:  # the shaft in the aorta: right across the image, nearly straight
            end, heading = np.array([rng.uniform(0, 1), -0.03]), rng.normal(np.pi / 2, 0.25)
            length, hook = rng.uniform(0.6, 1.4), rng.normal(0, 0.4)
            if rng.random() < 0.3:
                end, heading = end[::-1], heading - np.pi / 2
        snake = np.array([rng.uniform(0, 0.12)])
        line = walk(rng, end[None], np.array([heading]), np.array([length]), np.array([hook]), snake, 0.6, 60)[0]
        radius = np.clip(vessel_radius * rng.uniform(0.35, 1.1), 0.003, 0.013)
        layer.tube("catheter", line, np.full(60, radius), rng.uniform(0.35, 1.0), hollow=rng.random() < 0.5)


def guide_wire(rng: np.random.Generator, layer: Layer, main: Branches) -> None:
    """A thin wire along the lumen of a main vessel, sometimes with a thicker opaque tip."""
    along = main.points[0][: int(rng.integers(20, 56))]
    if rng.random() < 0.3:
        along = walk(
            rng,
            rng.uniform(0, 1, (1, 2)),
            rng.uniform(-3, 3, 1),
            rng.uniform(0.3, 1.2, 1),
            rng.normal(0, 1.2, 1),
            np.array([0.1]),
            0.4,
            48,
        )[0]
    radii = np.full(len(along), rng.uniform(0.0008, 0.002))
    if rng.random() < 0.5:
        radii[-6:] = rng.uniform(0.002, 0.004)
    layer.tube("guide wire", along, radii, rng.uniform(0.5, 1.0))


def hardware(rng: np.random.Generator, layer: Layer) -> None:
    """Sternal wires, surgical clips or electrode leads: dark and sharp, but not vessels."""
    kind = rng.choice(["clips", "wires", "lead"])
    if kind == "clips":
        for _ in range(int(rng.integers(2, 9))):
            start, heading = rng.uniform(0.05, 0.95, (1, 2)), rng.uniform(-3, 3, 1)
            line = walk(rng, start, heading, rng.uniform(0.01, 0.04, 1), np.zeros(1), np.zeros(1), 1.0, 4)[0]
            layer.tube("clip", line, np.full(4, rng.uniform(0.0015, 0.004)), rng.uniform(0.5, 1))
    elif kind == "wires":
        x, y = rng.uniform(0.1, 0.9, 2)
        for _ in range(int(rng.integers(1, 5))):
            angle = np.linspace(0, rng.uniform(4, 6.3), 30) + rng.uniform(0, 6)
            a, b = rng.uniform(0.02, 0.06, 2)
            line = np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], 1)
            layer.tube("sternal wire", line, np.full(30, rng.uniform(0.0012, 0.0035)), rng.uniform(0.5, 1))
            y += rng.uniform(0.12, 0.25)
    else:
        start = np.array([[rng.uniform(0, 1), rng.choice([-0.02, 1.02])]])
        heading = np.arctan2(0.5 - start[:, 1], 0.5 - start[:, 0])
        line = walk(rng, start, heading, rng.uniform(0.3, 1.0, 1), rng.normal(0, 1.5, 1), np.array([0.15]), 0.5, 50)[0]
        radii = np.full(50, rng.uniform(0.002, 0.005))
        radii[::7] *= rng.uniform(1.0, 1.4)
        radii[-5:] *= rng.uniform(1.0, 2.0)
        layer.tube("lead", line, radii, rng.uniform(0.4, 1))


def anatomy(rng: np.random.Generator, size: int) -> tuple[Field, dict[str, Mask]]:
    """A chest without contrast: transmission (size, size), about 1, and masks of its parts."""
    n = COARSE
    x, y = grid(n)
    field = np.ones((n, n), np.float32) + smooth_noise(rng, n, rng.uniform(1.5, 4), 3) * rng.uniform(0.02, 0.16)
    masks: dict[str, Mask] = {}
    angle = rng.uniform(0, 2 * np.pi)
    field = field * (1 + rng.uniform(0, 0.5) * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)))
    if rng.random() < 0.55:  # lung beside the heart: up to burned-out white
        cx, cy, r = rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.1), rng.uniform(0.35, 0.85)
        lung = ramp(np.hypot(x - cx, (y - cy) * rng.uniform(0.6, 1.3)) - r, float(rng.choice([0.02, 0.1, 0.3])))
        field = field * (1 + lung * rng.uniform(0.1, 0.9))
        masks["lung"] = _big(lung, size)
    if rng.random() < 0.4:  # diaphragm or liver: a dark dome with a sharp edge
        cx, r = rng.uniform(0, 1), rng.uniform(0.3, 1.2)
        top = rng.uniform(0.55, 0.95)
        dome = ramp(r - np.hypot(x - cx, y - top - r), float(rng.choice([0.015, 0.04, 0.12])))
        if rng.random() < 0.35:
            dome = _turned(rng, dome)
        field = field * (1 - dome * rng.uniform(0.1, 0.6))
        masks["diaphragm"] = _big(dome, size)
    if rng.random() < 0.25:  # a dark wedge: arm, filter or edge of a plate
        a, b = rng.uniform(0, 2 * np.pi, 2)
        wedge = ramp(
            np.minimum(
                (x - rng.uniform(0.3, 0.9)) * np.cos(a) + (y - 0.5) * np.sin(a),
                (x - 0.5) * np.cos(b) + (y - rng.uniform(0.1, 0.9)) * np.sin(b),
            )
            - rng.uniform(0, 0.25),
            float(rng.choice([0.015, 0.05])),
        )
        field = field * (1 - wedge * rng.uniform(0.15, 0.6))
        masks["dark wedge"] = _big(wedge, size)
    if rng.random() < 0.45:
        band, truth = ribs(rng, n)
        field = field * (1 + band * rng.uniform(-0.2, 0.1))
        masks["rib"] = _big(truth, size)
    if rng.random() < 0.3:
        bone = spine(rng, n)
        field = field * (1 - bone * rng.uniform(0.08, 0.4))
        masks["spine"] = _big(bone, size)
    return np.maximum(enlarge(field, size), np.float32(0.08)), masks


def _big(coarse: Field, size: int) -> Mask:
    return enlarge(coarse, size, Image.Resampling.BILINEAR) > 0.5


def _turned(rng: np.random.Generator, field: Field) -> Field:
    return np.ascontiguousarray(np.rot90(field, int(rng.integers(1, 4))))


def ribs(rng: np.random.Generator, n: int) -> tuple[Field, Field]:
    """Parallel curved bands (n, n) with brighter or darker edges, and the same bands without edges."""
    canvas, edges = Canvas(n), Canvas(n)
    count, slope = int(rng.integers(2, 6)), rng.uniform(-0.8, 0.8)
    gap, radius, bend = rng.uniform(0.16, 0.35), rng.uniform(0.02, 0.06), rng.normal(0, 0.9)
    for k in range(count):
        start = np.array([[-0.1, rng.uniform(-0.03, 0.03) + (k - count / 2 + 0.5) * gap + 0.5 - slope * 0.5]])
        line = walk(
            rng,
            start,
            np.array([np.arctan(slope) - bend / 2]),
            np.array([1.5]),
            np.array([bend]),
            np.array([0.03]),
            0.7,
            40,
        )[0]
        canvas.tube(line, np.full(40, radius), 0.65)
        normal = np.gradient(line, axis=0)[:, ::-1] * np.array([-1, 1])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        for sign in (-1, 1):
            edges.tube(line + sign * radius * normal, np.full(40, 0.004), 1.0)
    plain = canvas.field()
    band = blur(plain, rng.uniform(0.4, 2.5)) + blur(edges.field(), 0.6) * np.float32(rng.uniform(-0.2, 0.7))
    if rng.random() < 0.3:
        quarter = int(rng.integers(1, 4))
        band, plain = np.rot90(band, quarter), np.rot90(plain, quarter)
    return np.ascontiguousarray(band), np.ascontiguousarray(plain)


def spine(rng: np.random.Generator, n: int) -> Field:
    """A column of blocks (n, n), 0..1."""
    canvas = Canvas(n)
    x, lean, width, height = (
        rng.uniform(0.1, 0.9),
        rng.uniform(-0.3, 0.3),
        rng.uniform(0.06, 0.13),
        rng.uniform(0.1, 0.2),
    )
    y = rng.uniform(-0.2, 0)
    while y < 1:
        cx = x + lean * (y - 0.5)
        w, h = width * rng.uniform(0.9, 1.1), height * 0.86
        canvas.polygon(
            np.array(
                [
                    [cx - w, y],
                    [cx + w, y],
                    [cx + w * 0.9, y + h / 2],
                    [cx + w, y + h],
                    [cx - w, y + h],
                    [cx - w * 0.9, y + h / 2],
                ]
            ),
            rng.uniform(0.75, 1),
        )
        y += height
    return blur(canvas.field(), rng.uniform(0.8, 3))


def stains(rng: np.random.Generator, size: int, ostium: Floats) -> Field:
    """Contrast outside vessels (size, size), about 0..1, soft: a cloud at the ostium, myocardial blush."""
    canvas = Canvas(COARSE)
    for k in range(int(rng.integers(1, 4))):
        x, y = ostium + rng.normal(0, 0.05, 2) if k == 0 else rng.uniform(0.1, 0.9, 2)
        canvas.polygon(blob(rng, float(x), float(y), rng.uniform(0.02, 0.16), 0.35), rng.uniform(0.2, 0.8))
    return enlarge(blur(canvas.field(), rng.uniform(1.0, 7)), size)


def unnamed_twigs(rng: np.random.Generator, size: int, ostium: Floats) -> Field:
    """Fine lines (size, size), 0..1, that annotators leave out: distal twigs, lung markings, a tangle at the ostium."""
    count = int(rng.integers(6, 50))
    drift = rng.uniform(-3.2, 3.2)
    heading = drift + rng.normal(0, rng.uniform(0.3, 1.5), count)
    middle, spread = (ostium, 0.06) if rng.random() < 0.25 else (rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.4))
    start = middle + rng.normal(0, spread, (count, 2))
    length = rng.uniform(0.03, 0.35, count)
    lines = walk(rng, start, heading, length, rng.normal(0, 0.8, count), np.full(count, 0.4), 0.1, 18)
    first = rng.uniform(0.0008, 0.003, count)
    canvas = Canvas(size)
    for line, radii in zip(lines, taper(rng, first, first * 0.4, 18), strict=True):
        canvas.tube(line, radii, float(rng.uniform(0.3, 1.0)))
    return blur(canvas.field(), 0.8 * size / 512)


def motion_ghosts(rng: np.random.Generator, size: int, depth: Field) -> Field:
    """What digital subtraction leaves when the patient moved: embossed anatomy, pale shifted vessels, edge arcs."""
    out = np.zeros((size, size), np.float32)
    if rng.random() < 0.7:  # emboss: the difference of two shifted copies of the background
        source = smooth_noise(rng, size, rng.uniform(5, 50), 2, 0.6)
        dx, dy = rng.integers(-3, 4, 2)
        out += (np.roll(source, (dy, dx), (0, 1)) - source) * np.float32(np.exp(rng.uniform(-5.0, -2.3)))
    if rng.random() < 0.3:  # the frame that is subtracted had some contrast already
        shift = rng.integers(-14, 15, 2) * size // 512
        out += blur(np.roll(depth, tuple(shift), (0, 1)), 1.0) * np.float32(rng.uniform(-0.02, 0.06))
    if rng.random() < 0.5:  # ribs and the diaphragm leave thin double lines
        canvas = Canvas(size)
        for _ in range(int(rng.integers(1, 6))):
            line = walk(
                rng,
                rng.uniform(-0.1, 1.1, (1, 2)),
                rng.uniform(-3.2, 3.2, 1),
                rng.uniform(0.3, 1.3, 1),
                rng.normal(0, 0.7, 1),
                np.array([0.05]),
                0.5,
                40,
            )[0]
            canvas.tube(
                line, taper(rng, np.array([rng.uniform(0.001, 0.012)]), np.array([0.002]), 40)[0], rng.uniform(0.3, 1.0)
            )
        line_field = canvas.field()
        shift = rng.integers(-6, 7, 2) * size // 512
        out += (np.roll(line_field, tuple(shift), (0, 1)) - line_field) * np.float32(rng.uniform(0.02, 0.12))
    return out


def collimate(rng: np.random.Generator, image: Field, ghosts: bool) -> tuple[Field, Mask]:
    """The image behind a round, straight or rounded shutter, and the mask of what the shutter hides."""
    size = image.shape[0]
    x, y = grid(size)
    kind = rng.choice(["circle", "blades", "rounded"], p=[0.6, 0.25, 0.15])
    if kind == "circle":
        r = rng.uniform(0.36, 0.5) if rng.random() < 0.15 else rng.uniform(0.5, 0.9)
        away = rng.uniform(0, max(0.02, r - 0.3))
        angle = rng.uniform(0, 2 * np.pi)
        inside = r - np.hypot(x - 0.5 - away * np.cos(angle), y - 0.5 - away * np.sin(angle))
    else:
        left, right, top, bottom = np.where(rng.random(4) < 0.35, rng.uniform(0.01, 0.18, 4), -0.2)
        tilt = rng.normal(0, 0.06) if rng.random() < 0.5 else 0.0
        u, v = x + tilt * (y - 0.5), y - tilt * (x - 0.5)
        if kind == "blades":
            inside = np.minimum(np.minimum(u - left, 1 - right - u), np.minimum(v - top, 1 - bottom - v))
        else:
            corner = rng.uniform(0.05, 0.4)
            du = np.maximum(np.maximum(left + corner - u, u - (1 - right - corner)), 0)
            dv = np.maximum(np.maximum(top + corner - v, v - (1 - bottom - corner)), 0)
            inside = corner - np.hypot(du, dv)
    inside = inside.astype(np.float32)
    # Rims: light or dark bands just inside the edge; more of them where the shutter moved between subtracted frames.
    for _ in range(
        int(rng.choice([0, 1, 2, 3], p=[0.3, 0.35, 0.2, 0.15])) + (1 if ghosts and rng.random() < 0.5 else 0)
    ):
        where = rng.uniform(0, 0.09) if rng.random() < 0.6 else 0.0
        half = rng.uniform(0.001, 0.014)
        band = np.clip(1 - np.abs(inside - np.float32(where)) * np.float32(1 / half), 0, 1)
        if rng.random() < 0.4:  # the rim fades along the edge
            band = band * np.clip(smooth_noise(rng, size, 2) + np.float32(0.5), 0, 1)
        image = image + band * np.float32(rng.uniform(-60, 60))
    if rng.random() < 0.3:
        image = image * (
            1 - np.float32(rng.uniform(0.1, 0.5)) * np.clip(1 - inside * np.float32(1 / rng.uniform(0.05, 0.3)), 0, 1)
        )
    cover = rng.uniform(0, 35) if rng.random() < 0.85 else rng.uniform(35, 255)
    open_share = ramp(inside, float(rng.choice([0.003, 0.01, 0.05], p=[0.6, 0.25, 0.15])))
    return image * open_share + np.float32(cover) * (1 - open_share), inside < 0


@functools.cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


def burn_in(rng: np.random.Generator, image: Field) -> tuple[Field, Mask]:
    """The image with burned-in letters, numbers and ticks, and their mask."""
    size = image.shape[0]
    layer = Image.new("L", (size, size))
    draw = ImageDraw.Draw(layer)
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0.02, 0.85) * size, rng.choice([rng.uniform(0.01, 0.15), rng.uniform(0.8, 0.95)]) * size
        kind = rng.choice(["words", "ticks", "cross"], p=[0.7, 0.15, 0.15])
        if kind == "words":
            letters = "".join(rng.choice(list("ABCDEFLMRST0123456789:.-/ "), int(rng.integers(1, 14))))
            draw.text((x, y), letters, fill=255, font=_font(max(6, round(rng.uniform(9, 28) * size / 512))))
        elif kind == "ticks":
            for k in range(int(rng.integers(4, 14))):
                draw.line((x + k * size / 40, y, x + k * size / 40, y + size / 50), fill=255, width=1)
        else:
            draw.line((x - size / 40, y, x + size / 40, y), fill=255)
            draw.line((x, y - size / 40, x, y + size / 40), fill=255)
    marks = np.asarray(layer) > 127
    ink = 255.0 if rng.random() < 0.75 else 0.0
    return np.where(marks, np.float32(ink), image), marks
