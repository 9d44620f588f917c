"""X-ray coronary angiograms: contrast-filled arteries over a chest that moves, behind a collimator.

The recipe: a vessel tree (`_trees`), what lies in front and behind (`angiogram_clutter`), then film or digital
subtraction, collimator and camera. The truth follows what annotators of such images do: they draw the arteries they can
follow and leave out the faint and the tiny, with a cut-off that varies from scene to scene.
"""

import numpy as np
from PIL import Image

from tune_sa2va.data.procedural import angiogram_clutter as clutter
from tune_sa2va.data.procedural.growth import Branches, Floats, narrow, sprout, taper, walk
from tune_sa2va.data.procedural.raster import FLAT_PROFILE, ROUND_PROFILE, Canvas, draw_depth, draw_truth
from tune_sa2va.data.procedural.scene import Field, Mask, Scene, non_empty
from tune_sa2va.data.procedural.texture import as_rgb, blur, enlarge, grain, jpeg, resize8, smooth_noise, to_uint8


def render_angiogram(rng: np.random.Generator, size: int) -> Scene:
    """A scene with "blood vessel" and, when present, "catheter", "guide wire", "rib", "diaphragm", "collimator", ..."""
    levels = _trees(rng)
    masks: dict[str, Mask] = {}
    style = rng.choice(["film", "subtracted", "flat"], p=[0.5, 0.3, 0.2])

    depth, truth = _vessels(rng, size, levels)
    masks["blood vessel"] = truth
    main = levels[0]
    ostium = main.points[0, 0]

    wires = clutter.Layer(size)
    if rng.random() < 0.75:
        clutter.catheter(rng, wires, ostium, float(main.radii.max()))
    if rng.random() < 0.25:
        clutter.guide_wire(rng, wires, main)
    if rng.random() < 0.3:
        clutter.hardware(rng, wires)

    base = rng.uniform(70, 190)
    if style == "film":
        back, anatomy_masks = clutter.anatomy(rng, size)
        masks |= anatomy_masks
        texture = smooth_noise(rng, size, rng.uniform(5, 25), 3, 0.6) * rng.uniform(0, 0.07)
        back = back * (1 + texture)
        wire_contrast = rng.uniform(0.1, 0.5)
    else:
        back = np.full((size, size), 1.0, np.float32) + smooth_noise(rng, size, 2, 2) * rng.uniform(0, 0.05)
        if style == "subtracted":
            back = back + clutter.motion_ghosts(rng, size, depth)
            if rng.random() < 0.3:
                part, anatomy_masks = clutter.anatomy(rng, size)
                back = back + (part - part.mean()) * rng.uniform(0.03, 0.2)
        wire_contrast = rng.uniform(0.0, 0.3)

    contrast = float(np.exp(rng.uniform(np.log(0.07), np.log(0.6))))
    stain = clutter.stains(rng, size, ostium) if rng.random() < 0.5 else None
    image = back * (1 - np.float32(contrast) * depth)
    if stain is not None:
        image = image * (1 - np.float32(contrast * rng.uniform(0.1, 0.7)) * stain)
    wire_sign = -1.0 if rng.random() < 0.12 else 1.0
    image = image * (1 - np.float32(wire_contrast * wire_sign) * wires.depth())
    image = image * np.float32(base / max(float(image.mean()), 0.05))
    if style != "film" or rng.random() < 0.4:
        # Squeezed or stretched about the middle: the window that a viewer chose.
        gain = rng.uniform(0.6, 1.5)
        image = (image - base) * np.float32(gain) + np.float32(base)
    if wire_contrast * wires.strength > 0.04:
        masks |= wires.masks()

    image = blur(
        image, rng.choice([0.0, rng.uniform(0.5, 1.2), rng.uniform(1.0, 2.8)], p=[0.3, 0.45, 0.25]) * size / 512
    )
    if rng.random() < 0.15:
        image = 255 - image
    if rng.random() < 0.72:
        image, border = clutter.collimate(rng, image, ghosts=style == "subtracted")
        for text in masks:
            masks[text] = masks[text] & ~border
        masks["dark border" if float(image[border].mean() if border.any() else 0) < 90 else "border"] = border
    if rng.random() < 0.25:
        image, marks = clutter.burn_in(rng, image)
        masks["text"] = marks
    return Scene(_camera(rng, image), non_empty(masks))


def _trees(rng: np.random.Generator) -> list[Branches]:
    """Levels of a coronary tree, thickest first: one long C (right artery), a fan (left artery) or anything else."""
    kind = rng.choice(["right", "left", "free"], p=[0.35, 0.42, 0.23])
    r0 = float(np.exp(rng.uniform(np.log(0.006), np.log(0.021))))
    wavelength = rng.uniform(0.1, 0.35)
    wiggle = float(rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.2, 0.55)], p=[0.65, 0.35]))
    if kind == "right":
        mains = _one(
            rng,
            np.array([rng.uniform(0.1, 0.6), rng.uniform(-0.02, 0.2)]),
            rng.uniform(1.4, 2.9),
            rng.uniform(0.9, 1.7),
            -rng.uniform(1.2, 3.6),
            wiggle * 0.6,
            wavelength,
            r0,
            rng.uniform(0.45, 0.85),
        )
        n1, n2 = int(rng.integers(2, 7)), int(rng.integers(2, 14))
    elif kind == "left":
        start = np.array([rng.uniform(-0.02, 0.55), rng.uniform(-0.02, 0.3)])
        count = int(rng.integers(2, 4))
        spread = np.sort(rng.uniform(-0.3, 1.6, count))
        mains = _many(
            rng,
            np.repeat(start[None], count, 0),
            spread,
            rng.uniform(0.6, 1.25, count),
            rng.uniform(-1.0, 1.3, count),
            wiggle,
            wavelength,
            r0 * rng.uniform(0.6, 1.05, count),
            0.4,
        )
        n1, n2 = int(rng.integers(3, 12)), int(rng.integers(3, 20))
    else:
        count = int(rng.integers(1, 5))
        where = rng.uniform(-0.05, 1.05, (count, 2))
        aim = rng.uniform(0.2, 0.8, (count, 2)) - where
        mains = _many(
            rng,
            where,
            np.arctan2(aim[:, 1], aim[:, 0]),
            rng.uniform(0.4, 1.3, count),
            rng.uniform(-2.2, 2.2, count),
            wiggle,
            wavelength,
            r0 * rng.uniform(0.3, 1.05, count),
            0.5,
        )
        n1, n2 = int(rng.integers(1, 12)), int(rng.integers(0, 20))
    mains = narrow(rng, mains, 0.4)
    side = rng.uniform(-0.9, 0.9)
    first = sprout(
        rng,
        mains,
        n1,
        angle=(0.35, 1.3),
        length=(0.15, 0.75),
        radius=(0.35, 0.8),
        end_radius=0.45,
        bend=1.2,
        wiggle=wiggle * 1.1,
        wavelength=wavelength,
        points=40,
        side=side,
    )
    first = narrow(rng, first, 0.2)
    second = sprout(
        rng,
        Branches(
            np.concatenate([mains.points[:, ::2][:, :20], first.points[:, ::2][:, :20]]),
            np.concatenate([mains.radii[:, ::2][:, :20], first.radii[:, ::2][:, :20]]),
        ),
        n2,
        angle=(0.3, 1.4),
        length=(0.06, 0.35),
        radius=(0.25, 0.65),
        end_radius=0.5,
        bend=1.2,
        wiggle=wiggle * 1.4,
        wavelength=wavelength * 0.6,
        points=24,
    )
    levels = [mains, first, second]
    if rng.random() < 0.6:
        levels.append(
            sprout(
                rng,
                second if len(second) else mains,
                int(rng.integers(3, 25)),
                angle=(0.3, 1.4),
                length=(0.03, 0.2),
                radius=(0.3, 0.75),
                end_radius=0.6,
                bend=1.5,
                wiggle=0.5,
                wavelength=0.08,
                points=14,
            )
        )
    return _turned(rng, levels)


def _many(
    rng: np.random.Generator,
    start: Floats,
    heading: Floats,
    length: Floats,
    bend: Floats,
    wiggle: float,
    wavelength: float,
    radius: Floats,
    keep: float,
) -> Branches:
    points = walk(rng, start, heading, length, bend, np.full(len(start), wiggle), wavelength, 56)
    return Branches(points, taper(rng, radius, radius * keep, 56))


def _one(
    rng: np.random.Generator,
    start: Floats,
    heading: float,
    length: float,
    bend: float,
    wiggle: float,
    wavelength: float,
    radius: float,
    keep: float,
) -> Branches:
    return _many(
        rng,
        start[None],
        np.array([heading]),
        np.array([length]),
        np.array([bend]),
        wiggle,
        wavelength,
        np.array([radius]),
        keep,
    )


def _turned(rng: np.random.Generator, levels: list[Branches]) -> list[Branches]:
    """The tree mirrored, turned about the middle and scaled: projections come from many angles."""
    flip = np.array([-1.0 if rng.random() < 0.5 else 1.0, -1.0 if rng.random() < 0.12 else 1.0])
    angle = rng.uniform(-0.7, 0.7) if rng.random() < 0.8 else rng.uniform(-3.2, 3.2)
    zoom = rng.uniform(0.75, 1.25)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * zoom
    shift = rng.uniform(-0.08, 0.08, 2) + 0.5
    return [Branches(((level.points - 0.5) * flip) @ turn + shift, level.radii * zoom) for level in levels]


def _vessels(rng: np.random.Generator, size: int, levels: list[Branches]) -> tuple[Field, Mask]:
    """Contrast depth in 0..1 (about 1 in the widest vessel) and the truth, both (size, size)."""
    widest = max(float(level.radii.max(initial=1e-6)) for level in levels)
    power = rng.uniform(0.15, 1.0)
    profile = ROUND_PROFILE if rng.random() < 0.75 else FLAT_PROFILE
    front, rear = Canvas(size), Canvas(size)
    # Two layers that add up: where branches of different layers cross, the X-ray passes through both.
    draw_depth(front, levels[:1] + levels[2:], profile, power, widest)
    draw_depth(rear, levels[1:2], profile, power, widest)
    front_depth, rear_depth = front.field(), rear.field()
    overlap = rng.uniform(0.1, 0.9)
    depth = np.maximum(front_depth, rear_depth) + np.float32(overlap) * np.minimum(front_depth, rear_depth)

    least = rng.uniform(2.2, 4.2) / 512 if rng.random() < 0.75 else 1.0 / 512
    drawn = Canvas(size)
    kept = [level.pick(level.radii.max(axis=1, initial=0.0) * 2 > least) for level in levels]
    draw_truth(drawn, kept, max(1.0, min(least * size, 3.0 * size / 512)))
    truth = drawn.mask(0.45)

    if rng.random() < 0.45:
        # Partial filling and mixing: contrast comes and goes along the tree, and annotators lose the thread.
        filling = np.clip(smooth_noise(rng, size, rng.uniform(2, 7)) * 0.45 + rng.uniform(0.6, 1.1), 0.05, 1.2)
        depth = depth * filling
        truth &= filling > 0.28
    if rng.random() < 0.3:
        depth = depth * (1 + smooth_noise(rng, size, rng.uniform(20, 60)) * np.float32(rng.uniform(0.05, 0.25)))
    return depth, truth


def _camera(rng: np.random.Generator, image: Field) -> np.ndarray:
    """Grey float (size, size) to uint8 (size, size, 3): detector grid, noise, scan lines, window, JPEG."""
    size = image.shape[0]
    native = int(size * rng.choice([1.0, rng.uniform(0.45, 0.9)], p=[0.35, 0.65]))
    if native != size:
        image = enlarge(image, native, Image.Resampling.BOX)
    strength = float(np.exp(rng.uniform(np.log(0.4), np.log(9.0))))
    noise = grain(
        rng, native, rng.choice([1.0, rng.uniform(1.2, 3.0)], p=[0.5, 0.5]), rng.choice([1.0, 2.0], p=[0.8, 0.2])
    )
    if rng.random() < 0.5:
        # Quantum noise grows with the light.
        noise = noise * np.sqrt(np.clip(image, 4, 255) * np.float32(1 / 128))
    image = image + noise * np.float32(strength)
    if rng.random() < 0.2:
        image = image + grain(rng, native, rng.uniform(3, 8)) * np.float32(strength * rng.uniform(0.2, 0.6))
    if rng.random() < 0.2:
        period = rng.integers(2, 5)
        lines = ((np.arange(native) % period) == 0)[:, None].astype(np.float32)
        image = image + (lines if rng.random() < 0.7 else lines.T) * np.float32(rng.uniform(-6, 6))
    if rng.random() < 0.35:
        gamma = rng.uniform(0.65, 1.6)
        image = np.power(np.clip(image, 0, 255) * np.float32(1 / 255), np.float32(gamma)) * 255
    if rng.random() < 0.2:
        # Edge enhancement, as most viewers apply: vessels get a light halo.
        image = image + (image - blur(image, rng.uniform(1.5, 5))) * np.float32(rng.uniform(0.3, 1.5))
    out = to_uint8(image)
    if rng.random() < 0.5:
        out = jpeg(out, int(rng.integers(30, 96)))
    return as_rgb(resize8(out, size))
