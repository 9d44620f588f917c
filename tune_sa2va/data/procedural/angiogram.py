"""X-ray coronary angiograms: contrast-filled arteries over a moving chest, behind a collimator.

A scene is a vessel tree (`coronary_tree`) with other structures in front and behind (`angiogram_clutter`), seen by film
or digital subtraction through a collimator and a camera. The truth imitates annotators of such images: they draw the
arteries that they can follow and leave out faint and tiny ones, with a cut-off that varies from scene to scene.
"""

import numpy as np
from PIL import Image

from tune_sa2va.data.procedural import angiogram_clutter as clutter
from tune_sa2va.data.procedural.coronary_tree import coronary_tree
from tune_sa2va.data.procedural.growth import Branches
from tune_sa2va.data.procedural.raster import FLAT_PROFILE, ROUND_PROFILE, Canvas, draw_depth, draw_truth
from tune_sa2va.data.procedural.scene import VESSEL, Field, Image8, Mask, Scene, non_empty
from tune_sa2va.data.procedural.texture import as_rgb, blur, enlarge, grain, jpeg, resize8, smooth_noise, to_uint8


def render_angiogram(rng: np.random.Generator, size: int) -> Scene:
    """A scene with "blood vessel" and, when present, "catheter", "guide wire", "rib", "dark border", "text", ..."""
    levels = coronary_tree(rng)
    masks: dict[str, Mask] = {}
    style = rng.choice(["film", "subtracted", "flat"], p=[0.5, 0.3, 0.2])

    depth, truth = _vessels(rng, size, levels)
    masks[VESSEL] = truth
    main = levels[0]
    ostium = main.points[0, 0]

    wires = _wires(rng, size, main)
    base = rng.uniform(75, 205)
    back, back_masks = _background(rng, size, style, depth)
    masks |= back_masks
    wire_contrast = rng.uniform(0.1, 0.5) if style == "film" else rng.uniform(0.0, 0.3)

    contrast = float(np.exp(rng.uniform(np.log(0.13), np.log(0.7))))
    # Rare and faint, because they look like vessels but are not in the truth.
    if rng.random() < 0.25:
        depth = np.maximum(depth, clutter.unnamed_twigs(rng, size, ostium) * np.float32(rng.uniform(0.08, 0.3)))
    stain = clutter.stains(rng, size, ostium) if rng.random() < 0.5 else None
    image = back * (1 - np.float32(contrast) * depth)
    if stain is not None:
        image = image * (1 - np.float32(contrast * rng.uniform(0.1, 0.7)) * stain)
    wire_sign = -1.0 if rng.random() < 0.12 else 1.0
    image = image * (1 - np.float32(wire_contrast * wire_sign) * wires.depth())
    image = image * np.float32(base / max(float(image.mean()), 0.05))
    if style != "film" or rng.random() < 0.4:
        # Contrast changed about the mean, like the window chosen in a viewer.
        gain = rng.uniform(0.7, 1.6)
        contrast *= gain
        image = (image - base) * np.float32(gain) + np.float32(base)
    if wire_contrast * wires.strength > 0.04:
        masks |= wires.masks()

    focus = float(rng.choice([0.0, rng.uniform(0.7, 2.0), rng.uniform(1.6, 3.6)], p=[0.08, 0.47, 0.45]))
    image = blur(image, focus * size / 512)
    if rng.random() < 0.15:
        image = 255 - image
    if rng.random() < 0.72:
        image, border = clutter.collimate(rng, image, ghosts=style == "subtracted")
        for text in masks:
            masks[text] = masks[text] & ~border
        masks["dark border" if float(image[border].mean() if border.any() else 0) < 90 else "border"] = border
    if rng.random() < 0.25 or len(non_empty(masks)) < 2:  # every scene must have at least two texts
        image, marks = clutter.burn_in(rng, image)
        masks["text"] = marks
    # Noise beyond the contrast of the vessels would make the truth a guess.
    return Scene(_camera(rng, image, most_noise=0.3 * contrast * base + 0.5), non_empty(masks))


def _wires(rng: np.random.Generator, size: int, main: Branches) -> clutter.Layer:
    """Catheters, guide wires and hardware, each present in a share of the scenes."""
    wires = clutter.Layer(size)
    if rng.random() < 0.6:
        clutter.catheter(rng, wires, main.points[0, 0], float(main.radii.max()))
    if rng.random() < 0.25:
        clutter.guide_wire(rng, wires, main)
    if rng.random() < 0.3:
        clutter.hardware(rng, wires)
    return wires


def _background(rng: np.random.Generator, size: int, style: str, depth: Field) -> tuple[Field, dict[str, Mask]]:
    """Transmission without contrast (size, size), about 1: a chest, its remains after subtraction, or plain."""
    if style == "film":
        back, masks = clutter.anatomy(rng, size)
        if rng.random() < 0.6:
            back = back * (1 + smooth_noise(rng, size, rng.uniform(4, 30), 3, 0.6) * np.float32(rng.uniform(0, 0.05)))
        return back, masks
    masks = {}
    back = np.full((size, size), 1.0, np.float32) + smooth_noise(rng, size, 2, 2) * rng.uniform(0, 0.05)
    if style == "subtracted":
        back = back + clutter.motion_ghosts(rng, size, depth)
        if rng.random() < 0.3:
            # Too faint to be asked about, so its masks are dropped.
            part, _ = clutter.anatomy(rng, size)
            back = back + (part - part.mean()) * rng.uniform(0.03, 0.2)
    return back, masks


def _vessels(rng: np.random.Generator, size: int, levels: list[Branches]) -> tuple[Field, Mask]:
    """Contrast depth in 0..1 (about 1 in the widest vessel) and the truth, both (size, size)."""
    widest = max(float(level.radii.max(initial=1e-6)) for level in levels)
    power = rng.uniform(0.1, 0.75)
    profile = ROUND_PROFILE if rng.random() < 0.75 else FLAT_PROFILE
    front, rear = Canvas(size), Canvas(size)
    # Two layers that add up: where branches of different layers cross, the X-ray passes through both.
    draw_depth(front, levels[:1] + levels[2:], profile, power, widest)
    draw_depth(rear, levels[1:2], profile, power, widest)
    front_depth, rear_depth = front.field(), rear.field()
    overlap = rng.uniform(0.1, 0.7) if rng.random() < 0.6 else 0.0
    depth = np.maximum(front_depth, rear_depth) + np.float32(overlap) * np.minimum(front_depth, rear_depth)

    # The width below which annotators leave a branch out, and the width of their pen for thin ones. The threshold
    # depends on the scene: where all vessels are thin, thin ones are drawn.
    least = min((rng.uniform(2.2, 5.0) if rng.random() < 0.75 else 1.0) / 512, widest * rng.uniform(0.6, 1.1))
    pen_px = rng.uniform(1.2, 3.8) * size / 512
    drawn = Canvas(size)
    kept = [level.pick(level.radii.max(axis=1, initial=0.0) * 2 > least) for level in levels]
    draw_truth(drawn, kept, max(1.0, pen_px))
    truth = drawn.mask(0.45)

    if rng.random() < 0.3:
        # Partial filling and mixing: contrast varies along the tree, and annotators stop where it is too low.
        filling = np.clip(smooth_noise(rng, size, rng.uniform(2, 7)) * 0.45 + rng.uniform(0.75, 1.2), 0.05, 1.2)
        depth = depth * filling
        truth &= filling > 0.28
    if rng.random() < 0.3:
        depth = depth * (1 + smooth_noise(rng, size, rng.uniform(20, 60)) * np.float32(rng.uniform(0.05, 0.25)))
    return depth, truth


def _camera(rng: np.random.Generator, image: Field, most_noise: float) -> Image8:
    """Grey float (size, size) to uint8 (size, size, 3): detector grid, noise, scan lines, window, JPEG.

    most_noise: upper bound of the noise's standard deviation, in grey levels.
    """
    size = image.shape[0]
    native = int(size * rng.choice([1.0, rng.uniform(0.45, 0.8)], p=[0.25, 0.75]))
    if native != size:
        image = enlarge(image, native, Image.Resampling.BOX)
    strength = min(most_noise, float(np.exp(rng.uniform(np.log(0.35), np.log(7.0)))))
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
    way = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
    return as_rgb(resize8(out, size, way))
