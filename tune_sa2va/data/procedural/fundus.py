"""Fundus photographs: retinal arcades that leave the optic disc, in a round field of view, in colour or grey.

Geometry is generated in units of the field's radius, with the fovea to the right of the disc, then mirrored, squeezed
and moved into the image: real photographs are wider than high, and are resized to a square for a model.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tune_sa2va.data.procedural.growth import Branches, Floats, sprout, stems, taper, walk
from tune_sa2va.data.procedural.raster import ROUND_PROFILE, Canvas, blob, draw_depth, draw_truth
from tune_sa2va.data.procedural.scene import VESSEL, Field, Image8, Mask, Scene, non_empty
from tune_sa2va.data.procedural.texture import blur, enlarge, grain, grid, jpeg, ramp, resize8, smooth_noise, to_uint8

COARSE = 128


@dataclass(frozen=True, slots=True)
class _Eye:
    """The geometry of an eye. disc, fovea: (x, y) in field units. centre, radius: (x, y) in side lengths.

    disc_radius: field units. mirror: -1 or 1.
    """

    disc: Floats
    fovea: Floats
    disc_radius: float
    centre: Floats
    radius: Floats
    mirror: float

    def place(self, points: Floats) -> Floats:
        """Field units (..., 2) to side lengths."""
        return self.centre + points * self.radius * np.array([self.mirror, 1.0])

    @property
    def scale(self) -> float:
        """Side lengths in one field unit, for widths."""
        return float(np.sqrt(self.radius.prod()))


def render_fundus(rng: np.random.Generator, size: int) -> Scene:
    """A scene with vessels ("blood vessel", "artery", "vein"), "optic disc", "fovea", lesions and "dark border"."""
    eye = _eye(rng)
    arteries, veins = _arcades(rng, eye, vein=False), _arcades(rng, eye, vein=True)
    x, y = grid(size)
    inside = 1 - np.hypot((x - eye.centre[0]) / eye.radius[0], (y - eye.centre[1]) / eye.radius[1]).astype(np.float32)
    if rng.random() < 0.25:  # the notch that marks the orientation of the film
        at = eye.place(np.array([np.cos(angle := rng.uniform(0, 2 * np.pi)), np.sin(angle)]))
        notch = rng.uniform(0.015, 0.045) - np.hypot(x - at[0], y - at[1])
        inside = np.maximum(inside, (notch / eye.radius[0]).astype(np.float32))
    shown = inside > 0

    masks: dict[str, Mask] = {}
    detail = rng.choice(["all", "clear"], p=[0.72, 0.28])
    least_px = rng.uniform(1.2, 2.1) * size / 512
    widest = max(float(level.radii.max(initial=0)) for level in [*arteries, *veins])
    power = rng.uniform(0.15, 0.65)
    depths: list[Field] = []
    for text, tree in (("artery", arteries), ("vein", veins)):
        canvas, truth = Canvas(size), Canvas(size)
        draw_depth(canvas, tree, ROUND_PROFILE, power, widest)
        draw_truth(truth, tree if detail == "all" else tree[:3], least_px)
        depths.append(canvas.field())
        masks[text] = truth.mask(0.45) & shown
    masks[VESSEL] = masks["artery"] | masks["vein"]

    contrast = rng.uniform(0.25, 0.8)
    pale = rng.uniform(0.6, 1.0)
    depth = np.maximum(depths[0] * np.float32(pale), depths[1]) + np.float32(0.3) * np.minimum(*depths)
    if rng.random() < 0.5:  # the light reflex along arteries
        reflex = Canvas(size)
        for level in arteries[:2]:
            for points, radii in zip(level.points, level.radii, strict=True):
                reflex.tube(points, np.where(radii * size > 1.4, radii, 0), 1.0, 0.3)
        depth = depth * (1 - np.float32(rng.uniform(0.1, 0.6)) * reflex.field())
    depth = blur(depth, rng.uniform(0.3, 0.9) * size / 512)

    rgb = _background(rng, size, eye, masks)
    lesion_dark, lesion_bright = _lesions(rng, size, eye, masks, shown)
    absorb = np.array([rng.uniform(0.08, 0.5), 1.0, rng.uniform(0.4, 1.0)]) * contrast
    for k in range(3):
        channel = rgb[k] * (1 - np.float32(absorb[k]) * depth)
        if lesion_dark is not None:
            channel = channel * (1 - np.float32(min(0.9, absorb[k] * 1.2)) * lesion_dark)
        if lesion_bright is not None:
            channel = channel + (np.float32((255, 235, 150)[k]) - channel) * lesion_bright
        rgb[k] = channel
    for text in ("optic disc", "fovea"):
        masks[text] &= shown
    masks["dark border"] = ~shown
    return Scene(_camera(rng, rgb, inside), non_empty(masks))


def _eye(rng: np.random.Generator) -> _Eye:
    kind = rng.choice(["macula", "disc", "any"], p=[0.65, 0.2, 0.15])
    if kind == "macula":
        disc = np.array([rng.uniform(-0.85, -0.5), rng.uniform(-0.15, 0.12)])
    elif kind == "disc":
        disc = rng.normal(0, 0.12, 2)
    else:
        disc = rng.uniform(-0.7, 0.7, 2)
    fovea = disc + np.array([rng.uniform(0.5, 0.72), rng.uniform(-0.04, 0.14)])
    # A wide sensor resized to a square squeezes the field sideways and often cuts its top and bottom.
    aspect = 1.0 if rng.random() < 0.3 else rng.uniform(1.15, 1.6)
    rx = rng.uniform(0.4, 0.52) if rng.random() < 0.8 else rng.uniform(0.5, 0.75)
    ry = rx * aspect
    return _Eye(
        disc,
        fovea,
        rng.uniform(0.09, 0.15),
        0.5 + rng.normal(0, 0.02, 2),
        np.array([rx, ry]),
        -1.0 if rng.random() < 0.5 else 1.0,
    )


def _arcades(rng: np.random.Generator, eye: _Eye, vein: bool) -> list[Branches]:
    """Levels of the arterial or the venous tree in side lengths, mains first."""
    headings, bends, lengths, widths = [], [], [], []
    for up in (-1.0, 1.0):
        headings += [up * rng.uniform(1.25, 1.95), up * rng.uniform(1.9, 2.9)]
        bends += [-up * rng.uniform(1.1, 2.3), up * rng.uniform(-0.7, 0.9)]
        lengths += [rng.uniform(1.5, 2.4), rng.uniform(0.6, 1.3)]
        widths += [1.0, rng.uniform(0.45, 0.8)]
        if rng.random() < 0.6:  # a second main that runs straight to the macula or past it
            headings.append(up * rng.uniform(0.15, 1.2))
            bends.append(-up * rng.uniform(-0.2, 0.6))
            lengths.append(rng.uniform(0.35, 1.2))
            widths.append(rng.uniform(0.25, 0.5))
    count = len(headings)
    first = np.exp(rng.uniform(np.log(0.0065), np.log(0.015))) * (1.15 if vein else 0.9) * np.array(widths)
    wiggle = rng.uniform(0.08, 0.35)
    start = eye.disc + rng.normal(0, 0.02, (count, 2))
    lines = walk(rng, start, np.array(headings), np.array(lengths), np.array(bends), np.full(count, wiggle), 0.3, 56)
    mains = Branches(lines, taper(rng, first, first * rng.uniform(0.3, 0.5), 56))
    one = sprout(
        rng, mains, int(rng.integers(9, 18)), angle=(0.35, 1.1), length=(0.25, 1.0), radius=(0.4, 0.8), end_radius=0.45,
        bend=0.9, wiggle=wiggle * 1.1, wavelength=0.22, points=32, along=(0.12, 0.95),
    )  # fmt: skip
    two = sprout(
        rng, stems([mains, one], 28), int(rng.integers(20, 65)), angle=(0.4, 1.3), length=(0.12, 0.5),
        radius=(0.3, 0.7), end_radius=0.5, bend=0.9, wiggle=wiggle * 1.3, wavelength=0.15, points=18, along=(0.15, 1.0),
    )  # fmt: skip
    twigs = sprout(
        rng, stems([mains, one, two], 16), int(rng.integers(25, 150)), angle=(0.5, 1.5), length=(0.04, 0.22),
        radius=(0.3, 0.8), end_radius=0.6, bend=0.8, wiggle=0.4, wavelength=0.08, points=9, along=(0.15, 1.0),
    )  # fmt: skip
    levels = []
    for level in (mains, one, two, stems([twigs, _macular(rng, eye)], 9)):
        clear = np.hypot(*np.moveaxis(level.points - eye.fovea, 2, 0)) > rng.uniform(0.08, 0.15)
        # A vessel that reaches the fovea ends there.
        radii = np.where(np.minimum.accumulate(clear, axis=1), np.maximum(level.radii, 0.0016), 0.0)
        levels.append(Branches(eye.place(level.points), radii * eye.scale))
    return levels


def _macular(rng: np.random.Generator, eye: _Eye) -> Branches:
    """Fine twigs that run towards the fovea from all sides, in field units."""
    count = int(rng.integers(0, 28))
    angle, away = rng.uniform(-np.pi, np.pi, count), rng.uniform(0.18, 0.6, count)
    start = eye.fovea + np.stack([np.cos(angle), np.sin(angle)], 1) * away[:, None]
    heading = angle + np.pi + rng.normal(0, 0.35, count)
    lines = walk(
        rng, start, heading, away * rng.uniform(0.3, 0.8, count), np.zeros(count), np.full(count, 0.35), 0.1, 9
    )
    return Branches(lines, taper(rng, np.full(count, 0.0026), np.full(count, 0.0016), 9))


def _background(rng: np.random.Generator, size: int, eye: _Eye, masks: dict[str, Mask]) -> list[Field]:
    """Red, green and blue (size, size) of an empty retina with disc and fovea; adds their masks."""
    n = COARSE
    x, y = grid(n)
    light = np.ones((n, n), np.float32)
    cx, cy = rng.normal(0.5, 0.2, 2)
    light -= rng.uniform(0.1, 0.9) * ((x - cx) ** 2 + (y - cy) ** 2)
    light += smooth_noise(rng, n, 2.5, 2) * rng.uniform(0.01, 0.08)
    fx, fy = eye.place(eye.fovea)
    away = np.hypot((x - fx) / eye.radius[0], (y - fy) / eye.radius[1])
    light *= 1 - rng.uniform(0.05, 0.55) * np.exp(-((away / rng.uniform(0.1, 0.3)) ** 2))
    masks["fovea"] = enlarge((0.13 - away).astype(np.float32), size, Image.Resampling.BILINEAR) > 0
    ring = np.hypot((x - eye.centre[0]) / eye.radius[0], (y - eye.centre[1]) / eye.radius[1])
    light *= 1 - rng.uniform(0, 0.6) * np.clip((ring - rng.uniform(0.5, 0.85)) * 2.5, 0, 1)
    if rng.random() < 0.5:  # nerve fibres shine around the disc
        dx, dy = eye.place(eye.disc)
        light += rng.uniform(0.05, 0.5) * np.exp(-((np.hypot(x - dx, y - dy) / rng.uniform(0.1, 0.3)) ** 2))
    light = np.maximum(light, 0.12)

    tint = _tint(rng)
    rgb = [enlarge(light, size) * np.float32(tint[k]) for k in range(3)]
    if rng.random() < 0.5:  # the choroid shows through; its wide soft vessels are not in the truth
        if rng.random() < 0.6:
            choroid, most = _choroid(rng, eye), 0.35
        else:
            choroid, most = smooth_noise(rng, COARSE, rng.uniform(8, 40), 2), 0.12
        stripes = enlarge(choroid, size) * np.float32(rng.uniform(0.02, most))
        for k, share in enumerate((0.4, 1.0, 0.8)):
            rgb[k] = rgb[k] * (1 + np.float32(share) * stripes)
    if rng.random() < 0.6:
        mottle = smooth_noise(rng, size, rng.uniform(40, 130), 2, 0.7) * np.float32(rng.uniform(0.005, 0.05))
        rgb = [channel * (1 + mottle) for channel in rgb]

    disc, cup = Canvas(size), Canvas(size)
    for canvas, r, rough in ((disc, eye.disc_radius, 0.06), (cup, eye.disc_radius * rng.uniform(0.3, 0.7), 0.1)):
        canvas.polygon(eye.place(blob(rng, eye.disc[0], eye.disc[1], r, rough)))
    masks["optic disc"] = disc.mask()
    glow = blur(disc.field(), rng.uniform(1.5, 5) * size / 512) * np.float32(rng.uniform(0.2, 0.85))
    hole = blur(cup.field(), rng.uniform(1.5, 6) * size / 512) * np.float32(rng.uniform(0.1, 0.7))
    for k, (rim, centre) in enumerate(((255, 255), (190, 240), (110, 190))):
        rgb[k] = rgb[k] + (np.float32(rim) - rgb[k]) * glow
        rgb[k] = rgb[k] + (np.float32(centre) - rgb[k]) * hole
    return rgb


def _tint(rng: np.random.Generator) -> Floats:
    kind = rng.choice(["orange", "red", "brown", "pale", "green"], p=[0.35, 0.25, 0.2, 0.13, 0.07])
    base = {
        "orange": (220, 85, 30),
        "red": (215, 62, 45),
        "brown": (140, 75, 35),
        "pale": (190, 130, 95),
        "green": (60, 130, 80),
    }[kind]
    # Above 255 on purpose: many cameras overexpose red.
    return np.array(base) * rng.uniform(0.8, 1.2, 3) * rng.uniform(0.7, 1.2)


def _choroid(rng: np.random.Generator, eye: _Eye) -> Field:
    """Zero-mean stripes that run outwards from the disc, coarse (choroidal vessels) or fine (nerve fibres)."""
    fine = rng.random() < 0.4
    grid_size = 2 * COARSE if fine else COARSE
    thick = 0.004 if fine else 0.011
    count = int(rng.integers(20, 80))
    start = eye.disc + rng.normal(0, rng.uniform(0.2, 0.6), (count, 2))
    out = start - eye.disc
    lines = walk(
        rng,
        start,
        np.arctan2(out[:, 1], out[:, 0]),
        rng.uniform(0.3, 1.2, count),
        rng.normal(0, 0.4, count),
        np.full(count, 0.35),
        0.25,
        24,
    )
    canvas = Canvas(grid_size)
    for line in lines:
        canvas.tube(eye.place(line), np.full(24, rng.uniform(thick / 4, thick)), rng.uniform(0.3, 1))
    field = blur(canvas.field(), rng.uniform(0.5, 1.2))
    return field - field.mean()


def _lesions(
    rng: np.random.Generator, size: int, eye: _Eye, masks: dict[str, Mask], shown: Mask
) -> tuple[Field | None, Field | None]:
    """Haemorrhages (dark) and exudates or scars (bright) as fields (size, size) or None; adds their masks."""
    fields: list[Field | None] = []
    for text, chance, most in (("dark lesion", 0.4, 30), ("bright lesion", 0.4, 90)):
        if rng.random() > chance:
            fields.append(None)
            continue
        canvas = Canvas(size)
        middle, spread = rng.normal(0, 0.4, 2), rng.uniform(0.1, 0.5)
        typical = np.exp(rng.uniform(np.log(0.008), np.log(0.04)))
        for _ in range(int(rng.integers(2, most))):
            px, py = eye.place(middle + rng.normal(0, spread, 2))
            canvas.polygon(
                blob(rng, px, py, typical * rng.uniform(0.4, 1.8) * eye.scale, 0.35, 16), rng.uniform(0.5, 1)
            )
            if text == "bright lesion" and rng.random() < 0.15:  # a scar: pale with a pigmented middle
                canvas.polygon(blob(rng, px, py, typical * 0.3 * eye.scale, 0.35, 12), 0.0)
        field = canvas.field()
        masks[text] = (field > 0.3) & shown
        fields.append(blur(field, rng.uniform(0.5, 2.5) * size / 512) * np.float32(rng.uniform(0.3, 0.9)))
    if "dark lesion" in masks and "bright lesion" in masks:
        masks["lesion"] = masks["dark lesion"] | masks["bright lesion"]
    return fields[0], fields[1]


def _camera(rng: np.random.Generator, rgb: list[Field], inside: Field) -> Image8:
    """Channels (size, size) to uint8 (size, size, 3): field edge, focus, noise, grey conversion, JPEG."""
    size = inside.shape[0]
    edge = ramp(inside, float(rng.choice([0.003, 0.008, 0.03], p=[0.5, 0.3, 0.2])))
    surround = float(rng.choice([rng.uniform(0, 2), rng.uniform(0, 14), rng.uniform(14, 60)], p=[0.5, 0.4, 0.1]))
    if rng.random() < 0.5:  # a light or dark rim along one side of the field
        width, angle = rng.uniform(0.006, 0.05), rng.uniform(0, 2 * np.pi)
        x, y = grid(size)
        side = np.clip((x - 0.5) * np.cos(angle) * 3 + (y - 0.5) * np.sin(angle) * 3 + rng.uniform(-0.8, 1.2), 0, 1)
        halo = np.clip(1 - np.abs(inside - np.float32(width)) * np.float32(1 / width), 0, 1) * side
        tint = rng.uniform(-45, 60) * rng.uniform(0.3, 1.0, 3)
        rgb = [channel + halo * np.float32(tint[k]) for k, channel in enumerate(rgb)]
    kind = rng.choice(["colour", "green", "grey", "angiography"], p=[0.72, 0.14, 0.07, 0.07])
    if kind == "green":
        rgb = [rgb[1] * np.float32(rng.uniform(1.0, 1.9))]
    elif kind == "grey":
        rgb = [rgb[0] * np.float32(0.3) + rgb[1] * np.float32(0.59) + rgb[2] * np.float32(0.11)]
    elif kind == "angiography":  # dye shines: light vessels on dark
        rgb = [np.float32(rng.uniform(150, 230)) - rgb[1] * np.float32(rng.uniform(0.9, 1.7))]
    native = int(size * rng.choice([1.0, rng.uniform(0.65, 1.0)], p=[0.75, 0.25]))
    focus = rng.choice([0.0, rng.uniform(0.4, 1.0), rng.uniform(0.8, 2.0)], p=[0.6, 0.34, 0.06])
    strength = float(np.exp(rng.uniform(np.log(0.4), np.log(5.0))))
    common = grain(rng, native, rng.choice([1.0, rng.uniform(1.0, 2.5)])) * np.float32(strength)
    sharpen = rng.uniform(0.3, 1.6) if rng.random() < 0.6 else 0.0
    gain, lift = rng.uniform(0.85, 1.2), rng.uniform(-10, 15)
    gamma = rng.choice([1.0, rng.uniform(0.7, 1.5)], p=[0.6, 0.4])
    planes = []
    for channel in rgb:
        plane = channel * edge + np.float32(surround) * (1 - edge)
        plane = blur(enlarge(plane, native, Image.Resampling.BOX), focus * native / 512)
        if sharpen:  # as cameras do; it also leaves a fringe along the field's edge
            plane = plane + (plane - blur(plane, 1.2 * native / 512)) * np.float32(sharpen)
        plane = plane * np.float32(gain) + np.float32(lift * (surround > 0)) + common
        if len(rgb) == 3 and strength > 1:
            plane = plane + grain(rng, native, 1.5) * np.float32(strength * 0.5)
        if gamma != 1.0:
            plane = np.power(np.clip(plane, 0, 255) * np.float32(1 / 255), np.float32(gamma)) * 255
        planes.append(to_uint8(plane))
    out = np.stack(planes * (1 if len(planes) == 3 else 3), axis=2)
    if rng.random() < 0.5:  # the surround of published images is often painted over, with an edge one pixel wide
        out[enlarge(inside, native, Image.Resampling.BILINEAR) < 0] = round(surround)
    if rng.random() < 0.55:
        out = jpeg(out, int(rng.integers(45, 97)))
    return resize8(out, size)
