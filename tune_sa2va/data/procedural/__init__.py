"""Synthetic images with masks, drawn from a seed: pretraining data of the tiny model and the built-in demo data.

`render(family, seed, size)` returns a `Scene`. It is deterministic for a given version of NumPy. The three pretraining
families vary more than real images in contrast, width, blur, noise and clutter. The demo family is held out from
pretraining, so that tuning on it shows what tuning does.
"""

import zlib
from collections.abc import Callable

import numpy as np

from tune_sa2va.data.procedural.angiogram import render_angiogram
from tune_sa2va.data.procedural.fundus import render_fundus
from tune_sa2va.data.procedural.leg import render_leg
from tune_sa2va.data.procedural.scene import VESSEL, Scene
from tune_sa2va.data.procedural.shapes import render_shapes

__all__ = ["DEMO_FAMILY", "FAMILIES", "PRETRAINING_FAMILIES", "VESSEL", "Scene", "render"]

FAMILIES: dict[str, Callable[[np.random.Generator, int], Scene]] = {
    "angiogram": render_angiogram,
    "fundus": render_fundus,
    "shapes": render_shapes,
    "leg": render_leg,
}
PRETRAINING_FAMILIES = ("angiogram", "fundus", "shapes")
DEMO_FAMILY = "leg"


def render(family: str, seed: int, size: int = 512) -> Scene:
    """Scene number `seed` (>= 0) of a family, `size` x `size` pixels. Equal arguments give equal scenes.

    Raises:
        ValueError: no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}.")
    # The family's name is part of the seed, so that equal seeds of two families share nothing.
    return FAMILIES[family](np.random.default_rng([seed, zlib.crc32(family.encode())]), size)
