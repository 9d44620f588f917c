"""Measures how fast images are encoded into the feature cache and read back, and how large their features are."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tune_sa2va.cache.fill import fill
from tune_sa2va.cache.store import FeatureCache, Picture, pictures
from tune_sa2va.data import Sample
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.sa2va import Sa2VA

_SEED = 0
_PAGE_BYTES = 4096


def bench_cache(
    model_name: str,
    *,
    side_px: int,
    images: int,
    batch_sizes: Sequence[int],
    device: torch.device,
    raw_high_res: bool,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Pictures per second by batch size (decoding, resizing, encoding, writing, flushing), and cold and warm reading.

    Pictures are noise, since the encoders' time does not depend on content. folder: one on the disk to measure; None:
    the system's temporary folder.
    """
    base = model_folder(model_name)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = load_model(base, device=device, dtype=dtype)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        samples = _make_samples(Path(temporary), side_px, images)
        wanted = pictures(samples, "none")
        encoding = []
        for batch_size in batch_sizes:
            cache = FeatureCache(Path(temporary) / f"batch{batch_size}", base, dtype, raw_high_res=raw_high_res)
            encoding.append(_encode(cache, model, wanted, batch_size))
        files = [cache.path(picture) for picture in wanted]
        reading = _read(cache, samples, files)
        num_bytes = sum(path.stat().st_size for path in files)
    return {
        "model": model_name, "side_px": side_px, "images": images, "dtype": str(dtype), "raw_high_res": raw_high_res,
        "mib_an_image": round(num_bytes / images / 2**20, 3), "encoding": encoding, "reading": reading,
    }  # fmt: skip


def _make_samples(folder: Path, side_px: int, images: int) -> list[Sample]:
    rng = np.random.default_rng(_SEED)
    samples = []
    for number in range(images):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(name=path.name, image=path, mask=path, group=path.name))
    return samples


def _encode(cache: FeatureCache, model: Sa2VA, wanted: Sequence[Picture], batch_size: int) -> dict[str, Any]:
    """Encodes all pictures. The first batch is not timed, because kernels are selected and loaded in it."""
    on_gpu = model.no_mem_embed.device.type == "cuda"
    fill(cache, model, wanted[:batch_size], batch_size=batch_size)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    encoded = fill(cache, model, wanted, batch_size=batch_size)
    seconds = time.perf_counter() - started
    return {
        "batch_size": batch_size,
        "images_per_s": round(encoded / seconds, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None,
    }


def _read(cache: FeatureCache, samples: Sequence[Sample], files: Sequence[Path]) -> list[dict[str, Any]]:
    """Times memory-mapped features, reading one value per page to load every page, and copies into one buffer."""
    longest = max(cache.num_bytes(sample) for sample in samples)
    buffer = torch.empty(longest, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    gib = sum(path.stat().st_size for path in files) / 2**30
    results = []
    for way in ("mapped", "copied"):
        for state in ("cold", "warm"):
            if state == "cold":
                _forget(files)
            started = time.perf_counter()
            for sample in samples:
                if way == "copied":
                    cache.load(sample, out=buffer)
                else:
                    features = cache.load(sample)
                    for tensor in (features.image_tokens, features.embed, features.high_res_1, features.high_res_0):
                        tensor.flatten().view(torch.int16)[:: _PAGE_BYTES // 2].sum()
            seconds = time.perf_counter() - started
            results.append(
                {
                    "way": way, "state": state, "gib_per_s": round(gib / seconds, 2),
                    "ms_an_image": round(1e3 * seconds / len(samples), 3),
                }
            )  # fmt: skip
    started = time.perf_counter()
    for sample in samples:
        cache.load(sample)
    opening = time.perf_counter() - started
    results.append({"way": "opened only", "state": "warm", "ms_an_image": round(1e3 * opening / len(samples), 3)})
    return results


def _forget(files: Sequence[Path]) -> None:
    """Drops the files from the page cache, as after a restart."""
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
