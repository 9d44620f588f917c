"""Scenes of simple things with names: the text of the question decides which of them is asked for.

Circles, boxes, stripes, curves, cracks and sometimes a vessel tree lie on a textured background in colour or grey. Each
thing is named by its kind ("circle"), and by its kind with a tone or colour ("dark circle", "red circle"); lines also
by their width ("thin line"). A later thing covers an earlier one, in the image and in the masks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tune_sa2va.data.procedural.growth import Branches, Floats, narrow, sprout, taper, walk
from tune_sa2va.data.procedural.raster import FLAT_PROFILE, ROUND_PROFILE, Canvas, blob, draw_depth, draw_truth
from tune_sa2va.data.procedural.scene import Field, Image8, Mask, Scene, non_empty
from tune_sa2va.data.procedural.texture import as_rgb, blur, enlarge, grain, grid, jpeg, resize8, smooth_noise, to_uint8

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 45, 40),
    "green": (50, 170, 60),
    "blue": (45, 80, 210),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 180),
    "orange": (240, 140, 40),
    "cyan": (60, 200, 210),
}


@dataclass(frozen=True, slots=True)
class _Thing:
    """Coverage and truth (both (size, size)) of one drawn thing, and the nouns that name it."""

    cover: Field
    truth: Mask
    nouns: tuple[str, ...]


def render_shapes(rng: np.random.Generator, size: int) -> Scene:
    """A scene whose texts name kind, tone, colour and width; about four scenes in ten have a "blood vessel"."""
    coloured = rng.random() < 0.5
    rgb = _ground(rng, size, coloured)
    painters = [KINDS[name] for name in rng.choice(list(KINDS), int(rng.integers(3, 9)))]
    if rng.random() < 0.6:  # several of one kind, so that "dark" and "bright" have to be told apart
        painters += [painters[0]] * int(rng.integers(1, 4))
    if rng.random() < 0.45:
        painters.append(_vessel)
    rng.shuffle(painters)

    masks: dict[str, Mask] = {}
    for paint in painters:
        thing = paint(rng, size)
        for text in masks:
            masks[text] = masks[text] & ~thing.truth
        opacity = rng.uniform(0.35, 1.0)
        adjectives = _fill(rng, rgb, thing, opacity, coloured)
        for noun in thing.nouns:
            for text in (noun, *(f"{adjective} {noun}" for adjective in adjectives)):
                masks[text] = masks.get(text, np.zeros_like(thing.truth)) | thing.truth
    # Vessels have one text in all families, without a tone.
    masks = {text: mask for text, mask in masks.items() if not text.endswith(" blood vessel")}
    return Scene(_camera(rng, rgb), non_empty(masks, 30))


def _ground(rng: np.random.Generator, size: int, coloured: bool) -> list[Field]:
    """One grey or three colour channels (size, size) of a textured background."""
    base = rng.uniform(40, 215)
    level = smooth_noise(rng, size, rng.uniform(2, 9), int(rng.integers(1, 4)), 0.6) * np.float32(rng.uniform(0, 28))
    if rng.random() < 0.4:
        level = level + smooth_noise(rng, size, rng.uniform(30, 140)) * np.float32(rng.uniform(0, 14))
    x, y = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (x - 0.5) * np.float32(np.cos(angle)) + (y - 0.5) * np.float32(np.sin(angle))
    level = level + slope * np.float32(rng.uniform(0, 90))
    if rng.random() < 0.25:
        waves = np.sin(slope * np.float32(rng.uniform(20, 250)) + rng.uniform(0, 6) + level * np.float32(0.02))
        level = level + waves * np.float32(rng.uniform(2, 20))
    if not coloured:
        return [level + np.float32(base)]
    return [
        level * np.float32(rng.uniform(0.5, 1.2)) + np.float32(np.clip(base + rng.normal(0, 40), 10, 245))
        for _ in "rgb"
    ]


def _fill(rng: np.random.Generator, rgb: list[Field], thing: _Thing, opacity: float, coloured: bool) -> tuple[str, ...]:
    """Paints the thing into the channels (replaced in place); returns the adjectives that describe it."""
    under = float(np.mean([channel[thing.truth].mean() if thing.truth.any() else 128 for channel in rgb]))
    name = ""
    if coloured and rng.random() < 0.6:
        name = str(rng.choice(list(COLOURS)))
        ink = np.array(COLOURS[name]) + rng.normal(0, 14, 3)
        opacity = max(opacity, 0.7)
    else:
        step = rng.uniform(35, 130)
        bright = rng.random() < (0.5 if 60 < under < 195 else float(under < 128))
        ink = np.full(3, under + (step if bright else -step) / opacity)
    ink = np.clip(ink, 0, 255)
    texture = None
    if rng.random() < 0.3:
        texture = smooth_noise(rng, len(rgb[0]), rng.uniform(5, 80)) * np.float32(rng.uniform(2, 14))
    alpha = thing.cover * np.float32(opacity)
    for k, channel in enumerate(rgb):
        paint = np.float32(ink[k]) if texture is None else np.float32(ink[k]) + texture
        rgb[k] = channel + (paint - channel) * alpha
    tone = opacity * (float(ink[: len(rgb)].mean()) - under)
    tones = ("bright",) if tone > 25 else ("dark",) if tone < -25 else ()
    return (*tones, name) if name else tones


def _thing(canvas: Canvas, *nouns: str) -> _Thing:
    return _Thing(canvas.field(), canvas.mask(), nouns)


def _spot(rng: np.random.Generator) -> tuple[float, float, float]:
    """Centre and radius, side lengths."""
    x, y = rng.uniform(0.08, 0.92, 2)
    return float(x), float(y), float(np.exp(rng.uniform(np.log(0.025), np.log(0.17))))


def _regular(rng: np.random.Generator, size: int, corners: int, stretch: float = 1.0) -> Canvas:
    x, y, r = _spot(rng)
    angle = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    tilt = rng.uniform(0, np.pi)
    u, v = r * np.cos(angle) * stretch, r * np.sin(angle)
    canvas = Canvas(size)
    canvas.polygon(np.stack([x + u * np.cos(tilt) - v * np.sin(tilt), y + u * np.sin(tilt) + v * np.cos(tilt)], 1))
    return canvas


def _circle(rng: np.random.Generator, size: int) -> _Thing:
    canvas, (x, y, r) = Canvas(size), _spot(rng)
    canvas.ellipse(x, y, r, r)
    return _thing(canvas, "circle", "large circle" if r > 0.07 else "small circle")


def _ring(rng: np.random.Generator, size: int) -> _Thing:
    canvas, (x, y, r) = Canvas(size), _spot(rng)
    r = max(r, 0.04)
    canvas.ellipse(x, y, r, r)
    hole = r * rng.uniform(0.5, 0.88)
    canvas.ellipse(x, y, hole, hole, 0.0)
    return _thing(canvas, "ring")


def _box(rng: np.random.Generator, size: int) -> _Thing:
    return _thing(_regular(rng, size, 4, rng.uniform(1.0, 2.0)), "rectangle")


def _triangle(rng: np.random.Generator, size: int) -> _Thing:
    return _thing(_regular(rng, size, 3, rng.uniform(0.8, 1.4)), "triangle")


def _star(rng: np.random.Generator, size: int) -> _Thing:
    canvas, (x, y, r) = Canvas(size), _spot(rng)
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False) + rng.uniform(0, 6)
    reach = r * np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.35, 0.5))
    canvas.polygon(np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], 1))
    return _thing(canvas, "star")


def _blob(rng: np.random.Generator, size: int) -> _Thing:
    canvas, (x, y, r) = Canvas(size), _spot(rng)
    canvas.polygon(blob(rng, x, y, r, 0.5, 40))
    return _thing(canvas, "blob")


def _dots(rng: np.random.Generator, size: int) -> _Thing:
    canvas = Canvas(size)
    middle, spread, r = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.3), rng.uniform(0.004, 0.015)
    for x, y in middle + rng.normal(0, spread, (int(rng.integers(5, 40)), 2)):
        canvas.ellipse(x, y, r, r)
    return _thing(canvas, "dot")


def _line(rng: np.random.Generator, size: int) -> _Thing:
    canvas = Canvas(size)
    curved = rng.random() < 0.6
    bend = rng.choice([-1, 1]) * rng.uniform(0.8, 4.0) if curved else 0.0
    line = walk(
        rng,
        rng.uniform(0.05, 0.95, (1, 2)),
        rng.uniform(-3.2, 3.2, 1),
        rng.uniform(0.3, 1.2, 1),
        np.array([bend]),
        np.array([rng.uniform(0.1, 0.7) if curved else 0.0]),
        0.3,
        60,
    )[0]
    radius = np.exp(rng.uniform(np.log(0.0015), np.log(0.02)))
    canvas.tube(line, np.full(60, radius), 1.0, least_px=1)
    width = ("thick line",) if radius > 0.009 else ("thin line",) if radius < 0.004 else ()
    return _thing(canvas, "line", "curved line" if curved else "straight line", *width)


def _stripes(rng: np.random.Generator, size: int) -> _Thing:
    canvas = Canvas(size)
    angle, gap = rng.uniform(0, np.pi), rng.uniform(0.03, 0.12)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle, reach, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.8), gap * rng.uniform(0.08, 0.3)
    for k in range(int(rng.integers(3, 12))):
        centre = middle + across * gap * (k - 4)
        canvas.tube(np.stack([centre - along * reach, centre + along * reach]), np.full(2, radius), 1.0)
    return _thing(canvas, "stripes")


def _grid_lines(rng: np.random.Generator, size: int) -> _Thing:
    canvas = Canvas(size)
    gap, radius, tilt = rng.uniform(0.06, 0.2), rng.uniform(0.001, 0.005), rng.uniform(-0.3, 0.3)
    for offset in np.arange(-0.3, 1.3, gap):
        canvas.tube(np.array([[-0.3, offset], [1.3, offset + tilt]]), np.full(2, radius), 1.0)
        canvas.tube(np.array([[offset, -0.3], [offset - tilt, 1.3]]), np.full(2, radius), 1.0)
    return _thing(canvas, "grid")


def _crack(rng: np.random.Generator, size: int) -> _Thing:
    """A jagged thin line with a few jagged spurs: branching, but angular where a vessel is smooth."""
    canvas = Canvas(size)
    spots: list[tuple[Floats, float, int]] = [(rng.uniform(0.1, 0.9, 2), rng.uniform(-3, 3), 26)]
    radius = rng.uniform(0.0012, 0.004)
    for start, heading, steps in spots:
        turn = heading + np.cumsum(rng.normal(0, 0.25, steps)) + rng.normal(0, 0.6, steps)
        path = start + np.cumsum(
            np.stack([np.cos(turn), np.sin(turn)], 1) * rng.uniform(0.008, 0.04, (steps, 1)), axis=0
        )
        canvas.tube(path, np.linspace(radius, radius * 0.4, steps), 1.0, least_px=1)
        if len(spots) < 5 and steps > 10:
            spots += [
                (
                    path[int(rng.integers(3, steps - 2))],
                    heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.3),
                    steps // 2,
                )
            ]
    return _thing(canvas, "crack")


def _road(rng: np.random.Generator, size: int) -> _Thing:
    """Streets of constant width that cross at right angles."""
    canvas = Canvas(size)
    angle, radius = rng.uniform(0, np.pi), rng.uniform(0.004, 0.014)
    for k in range(int(rng.integers(2, 6))):
        heading = angle + (np.pi / 2 if k % 2 else 0.0)
        along = np.array([np.cos(heading), np.sin(heading)])
        centre = rng.uniform(0.2, 0.8, 2)
        reach = rng.uniform(0.25, 1.0)
        canvas.tube(np.stack([centre - along * reach, centre + along * reach]), np.full(2, radius), 1.0)
    return _thing(canvas, "road")


def _vessel(rng: np.random.Generator, size: int) -> _Thing:
    """A smooth branching tree with tapering tubes: the one thing here that is a blood vessel."""
    count = int(rng.integers(1, 4))
    where = rng.uniform(0, 1, (count, 2))
    aim = rng.uniform(0.25, 0.75, (count, 2)) - where
    wiggle, wavelength = rng.uniform(0.1, 0.5), rng.uniform(0.12, 0.35)
    line = walk(
        rng,
        where,
        np.arctan2(aim[:, 1], aim[:, 0]),
        rng.uniform(0.5, 1.3, count),
        rng.uniform(-2, 2, count),
        np.full(count, wiggle),
        wavelength,
        56,
    )
    first = np.exp(rng.uniform(np.log(0.004), np.log(0.02), count))
    mains = narrow(rng, Branches(line, taper(rng, first, first * 0.4, 56)), 0.2)
    one = sprout(
        rng,
        mains,
        int(rng.integers(4, 14)),
        angle=(0.4, 1.2),
        length=(0.15, 0.6),
        radius=(0.4, 0.8),
        end_radius=0.4,
        bend=1.2,
        wiggle=wiggle,
        wavelength=wavelength,
        points=36,
    )
    two = sprout(
        rng,
        one,
        int(rng.integers(4, 30)),
        angle=(0.4, 1.2),
        length=(0.05, 0.3),
        radius=(0.35, 0.8),
        end_radius=0.5,
        bend=1.0,
        wiggle=wiggle,
        wavelength=wavelength * 0.6,
        points=20,
    )
    soft, truth = Canvas(size), Canvas(size)
    profile = ROUND_PROFILE if rng.random() < 0.6 else FLAT_PROFILE
    draw_depth(soft, [mains, one, two], profile, rng.uniform(0.0, 0.5), float(first.max()))
    draw_truth(truth, [mains, one, two], 1.5 * size / 512)
    return _Thing(soft.field(), truth.mask(0.45), ("blood vessel",))


KINDS: dict[str, Callable[[np.random.Generator, int], _Thing]] = {
    "circle": _circle,
    "ring": _ring,
    "rectangle": _box,
    "triangle": _triangle,
    "star": _star,
    "blob": _blob,
    "dot": _dots,
    "line": _line,
    "stripes": _stripes,
    "grid": _grid_lines,
    "crack": _crack,
    "road": _road,
}


def _camera(rng: np.random.Generator, rgb: list[Field]) -> Image8:
    """Channels (size, size) to uint8 (size, size, 3): focus, noise, grid of the sensor, JPEG."""
    size = len(rgb[0])
    focus = rng.choice([0.0, rng.uniform(0.5, 1.2), rng.uniform(1.0, 3.0)], p=[0.5, 0.35, 0.15]) * size / 512
    native = int(size * rng.choice([1.0, rng.uniform(0.4, 1.0)], p=[0.6, 0.4]))
    noise = grain(rng, native, rng.choice([1.0, rng.uniform(1.0, 3.0)])) * np.float32(np.exp(rng.uniform(-1.0, 2.5)))
    planes = [to_uint8(enlarge(blur(channel, focus), native) + noise) for channel in rgb]
    out = np.stack(planes, axis=2) if len(planes) == 3 else planes[0]
    if rng.random() < 0.4:
        out = jpeg(out, int(rng.integers(30, 96)))
    out = resize8(out, size)
    return out if out.ndim == 3 else as_rgb(out)
