"""How much room the features of a data set need, and whether there is enough, before any encoder starts."""

import shutil
from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path

import torch

from tune_sa2va.cache.feature_file import DATA_START
from tune_sa2va.cache.listing import cache_bytes
from tune_sa2va.cache.shapes import feature_shapes
from tune_sa2va.errors import CacheError
from tune_sa2va.model.dims import Sa2VADims
from tune_sa2va.model.preprocess import num_image_tokens

_GIB = 2**30
SPARE_BYTES = 2**30
"""Left free on the disk for the search's results and other files."""


def features_bytes(
    dims: Sa2VADims, sizes_px: Iterable[tuple[int, int]], dtype: torch.dtype, *, raw_high_res: bool
) -> int:
    """Bytes of the feature files for pictures of these (height, width) in pixels."""
    counts = Counter(num_image_tokens(width, height, dims) for height, width in sizes_px)
    total = 0
    for tokens, count in counts.items():
        shapes = feature_shapes(dims, tokens, raw_high_res=raw_high_res).values()
        total += count * (DATA_START + sum(map(prod, shapes)) * dtype.itemsize)
    return total


def check_room(root: Path, needed_bytes: int, num_pictures: int, limit_gib: float | None) -> None:
    """Checks that there is room for `needed_bytes` more in the cache in `root`. limit_gib: None for no limit.

    Raises:
        CacheError: the limit or the disk is too small; nothing was written.
    """
    needed = f"{num_pictures:,} pictures need {needed_bytes / _GIB:.1f} GiB of feature cache"
    cure = "python -m tune_sa2va.cache rm --down-to GIB removes the least recently used features"
    if limit_gib is not None:
        held = cache_bytes(root)
        if held + needed_bytes > limit_gib * _GIB:
            raise CacheError(
                f"{root}: {needed}, which holds {held / _GIB:.1f} GiB already, and --cache-limit is {limit_gib:g} GiB. "
                f"Raise it, or make room: {cure}."
            )
    free = shutil.disk_usage(next(folder for folder in (root, *root.parents) if folder.exists())).free
    if needed_bytes + SPARE_BYTES > free:
        raise CacheError(
            f"{root}: {needed} (and {SPARE_BYTES / _GIB:.0f} GiB stays free), and the disk has {free / _GIB:.1f} GiB "
            f"left. Set TUNE_SA2VA_CACHE to a folder on another disk, or make room: {cure}."
        )
