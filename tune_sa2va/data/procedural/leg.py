"""The held-out demo family: leg angiograms on blue film, with their own annotation convention.

The pretraining families show nothing that looks like this: long trunks side by side down the leg, ladder-like
collaterals, bone shafts, a ruler, an anti-scatter grid. The truth differs, too, as between two hospitals: it holds only
the trunks and their large branches, no collaterals, and follows the outer wall, which is wider than the dye. A model
that segments every dyed pixel is half right here; a few dozen steps of tuning teach it the rest.
"""

import numpy as np

from tune_sa2va.data.procedural.growth import Branches, Floats, narrow, sprout, stems, taper, walk
from tune_sa2va.data.procedural.raster import ROUND_PROFILE, Canvas, draw_depth, draw_truth
from tune_sa2va.data.procedural.scene import VESSEL, Field, Mask, Scene, non_empty
from tune_sa2va.data.procedural.texture import blur, enlarge, grain, grid, jpeg, smooth_noise, to_uint8

LEAST_WIDTH = 5.0 / 512
"""Least width, in side lengths, of the branches that annotators follow, measured where a branch is widest."""
WALL = 1.3
"""Ratio of a vessel's outer diameter to the diameter of its dye."""
# The base of X-ray film is blue.
FILM = (0.86, 0.97, 1.0)


def render_leg(rng: np.random.Generator, size: int) -> Scene:
    """A scene with "blood vessel" (trunks only), "bone", "ruler" and "collateral vessel"."""
    trunks, branches, collaterals = _tree(rng)
    widest = float(trunks.radii.max())
    trunk_layer, other_layer = Canvas(size), Canvas(size)
    draw_depth(trunk_layer, [trunks, branches], ROUND_PROFILE, 0.45, widest)
    draw_depth(other_layer, [collaterals], ROUND_PROFILE, 0.35, widest)
    depth = np.maximum(trunk_layer.field(), other_layer.field())
    # The dye thins out towards the foot.
    y = grid(size)[1]
    depth = depth * (1 - np.float32(rng.uniform(0.0, 0.45)) * y)

    truth = Canvas(size)
    followed = [level.pick(level.radii.max(axis=1) * 2 > LEAST_WIDTH) for level in (trunks, branches)]
    draw_truth(truth, [Branches(level.points, level.radii * WALL) for level in followed], 2.0)
    masks: dict[str, Mask] = {VESSEL: truth.mask()}
    masks["collateral vessel"] = (other_layer.field() > 0.25) & ~masks[VESSEL]

    back, masks["bone"] = _bones(rng, size)
    back = back + smooth_noise(rng, size, 3, 3) * np.float32(rng.uniform(0.01, 0.05))
    image = back * (1 - np.float32(rng.uniform(0.3, 0.6)) * depth)
    ruler = _ruler(rng, size)
    masks["ruler"] = ruler > 0.5
    image = image * (1 - np.float32(0.5) * ruler)
    return Scene(_film(rng, image), non_empty(masks))


def _tree(rng: np.random.Generator) -> tuple[Branches, Branches, Branches]:
    """Trunks that run down side by side, their branches, and collaterals that wind between them."""
    count = int(rng.integers(1, 4))
    x = 0.5 + (np.arange(count) - (count - 1) / 2) * rng.uniform(0.14, 0.22) + rng.normal(0, 0.03, count)
    start = np.stack([x, np.full(count, -0.03)], 1)
    radius = rng.uniform(0.007, 0.012, count)
    length, heading, bend = rng.uniform(0.8, 1.15, count), rng.normal(np.pi / 2, 0.1, count), rng.normal(0, 0.2, count)
    lines = walk(rng, start, heading, length, bend, np.full(count, 0.12), 0.3, 64)
    trunks = narrow(rng, Branches(lines, taper(rng, radius, radius * 0.6, 64)), 0.7)
    branches = sprout(
        rng, trunks, int(rng.integers(3, 7)), angle=(0.3, 0.9), length=(0.2, 0.5), radius=(0.45, 0.8), end_radius=0.5,
        bend=0.8, wiggle=0.2, wavelength=0.2, points=36, along=(0.05, 0.7),
    )  # fmt: skip
    collaterals = sprout(
        rng, stems([trunks, branches], 30), int(rng.integers(14, 40)), angle=(0.6, 1.5), length=(0.08, 0.32),
        radius=(0.18, 0.36), end_radius=0.7, bend=1.4, wiggle=0.7, wavelength=0.07, points=24,
    )  # fmt: skip
    return trunks, branches, collaterals


def _bones(rng: np.random.Generator, size: int) -> tuple[Field, Mask]:
    """Transmission of soft tissue with one or two bone shafts (size, size), and the shafts' mask."""
    n = max(64, size // 2)
    shafts, edges = Canvas(n), Canvas(n)
    middle, lean = rng.uniform(0.35, 0.65), rng.normal(0, 0.08)
    for width in (rng.uniform(0.05, 0.085), rng.uniform(0.02, 0.035))[: 1 + int(rng.random() < 0.7)]:
        line: Floats = np.stack([np.linspace(middle - lean, middle + lean, 20), np.linspace(-0.1, 1.1, 20)], 1)
        shafts.tube(line, np.full(20, width), 1.0)
        for side in (-1, 1):
            edges.tube(line + np.array([side * width, 0.0]), np.full(20, width * 0.14), 1.0)
        middle += rng.choice([-1, 1]) * rng.uniform(0.13, 0.25)
    shaft = shafts.field()
    bone = np.float32(rng.uniform(0.08, 0.2)) * blur(shaft, 1.5) + np.float32(rng.uniform(0.06, 0.18)) * blur(
        edges.field(), 1
    )
    x, _ = grid(n)
    half = rng.uniform(0.34, 0.48)
    thigh = np.clip((half - np.abs(x - 0.5)) / 0.05, 0, 1)  # 1 inside the leg, 0 beside it
    tissue = 1 - np.float32(rng.uniform(0.1, 0.3)) * thigh * np.ones((n, 1), np.float32)
    return enlarge(tissue - bone, size), enlarge(shaft, size) > 0.5


def _ruler(rng: np.random.Generator, size: int) -> Field:
    """A radio-opaque ruler with ticks along one side, (size, size) in 0..1."""
    canvas = Canvas(size)
    x = rng.choice([rng.uniform(0.04, 0.12), rng.uniform(0.88, 0.96)])
    canvas.tube(np.array([[x, 0.0], [x, 1.0]]), np.full(2, 0.0015), 1.0)
    step = rng.uniform(0.02, 0.035)
    for k, tick in enumerate(np.arange(0, 1, step)):
        reach = 0.03 if k % 5 == 0 else 0.014
        canvas.tube(np.array([[x, tick], [x + reach * (1 if x < 0.5 else -1), tick]]), np.full(2, 0.0014), 1.0)
    return canvas.field()


def _film(rng: np.random.Generator, image: Field) -> np.ndarray:
    """Transmission (size, size) to blue-tinted uint8 (size, size, 3) with grid lines, grain and JPEG."""
    size = len(image)
    image = blur(image, rng.uniform(0.6, 1.3) * size / 512) * np.float32(rng.uniform(165, 215))
    x, _ = grid(size)
    image = image + np.sin(x * np.float32(2 * np.pi * rng.uniform(70, 110))) * np.float32(rng.uniform(1.5, 5))
    image = image + grain(rng, size, 1.6) * np.float32(rng.uniform(2, 6))
    return jpeg(np.stack([to_uint8(image * np.float32(share)) for share in FILM], axis=2), int(rng.integers(60, 92)))
