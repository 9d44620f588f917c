"""The room that a search takes: memory of each lane against the cards, the feature cache and the results on disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.cache.room import features_bytes
from tune_sa2va.config import FullModule, TrialConfig
from tune_sa2va.data.variants import variants_of
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.search.expectation import Expectation
from tune_sa2va.search.settings import SearchSettings
from tune_sa2va.train.memory import MemoryEstimate, estimate_memory

GIB = 2**30
_PROCESS_GIB = 0.9
"""A worker on a CPU besides its tensors: Python with torch, transformers and Ray."""
_BYTES_A_VALUE = 3 * 4
"""Of a trained value in a checkpoint: itself and AdamW's two moments, in fp32."""
_KEPT = 3
"""Checkpoints of a trial that are kept: the last, the one before, and the best."""
_RECORDS_GIB = 0.05
"""Tables, Ray's and Tune's own files."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU that a lane would get."""

    name: str
    free_gib: float
    total_gib: float


@dataclass(frozen=True, slots=True)
class Room:
    """estimate: of the most demanding trial on the most demanding image. free_gib: of the fullest card; or of main
    memory, for one lane's share of it. cache_gib: of all images; results_gib: checkpoints at most."""

    estimate: MemoryEstimate
    needed_gib: float
    free_gib: float | None
    cards: tuple[Card, ...]
    cache_gib: float
    cache_free_gib: float
    results_gib: float
    results_free_gib: float


def largest_config(settings: SearchSettings) -> TrialConfig:
    """The trial of the space that takes the most memory."""
    space = settings.search_space
    widest: tuple[FullModule, ...] = max(space.possible("train.full_modules"), key=len)
    values = {
        "lora.r": _highest(settings, "lora.r"),
        "lora.dropout": _highest(settings, "lora.dropout"),
        "loss.lm": _highest(settings, "loss.lm"),
        "train.micro_batch_size": _highest(settings, "train.micro_batch_size"),
        "train.full_modules": widest,
    }
    return settings.trial_config(space.recipe_point()).replace(values)


def measure_room(settings: SearchSettings, sizes_px: Sequence[tuple[int, int]], expected: Expectation) -> Room:
    """The room for a search on images of these sizes, (height, width)."""
    config = largest_config(settings)
    folder = model_folder(settings.model.model)
    # The most pixels make the most loss, the most extreme shapes the most tiles: each distinct size is looked at.
    estimates = [
        estimate_memory(
            folder,
            config,
            precision=settings.model.precision,
            on_gpu=settings.gpus > 0,
            width_px=width,
            height_px=height,
        )
        for height, width in _telling(sizes_px)
    ]
    worst = max(estimates, key=lambda estimate: estimate.card_gib)
    cards = _cards(settings)
    needed, free = worst.card_gib, min((card.free_gib for card in cards), default=None)
    if not settings.gpus:
        needed = worst.card_gib + _PROCESS_GIB
        free = None if settings.address else available_memory_gib() / settings.lanes
    checkpoint = estimates[0].trained_values * _BYTES_A_VALUE / GIB
    kept = expected.rungs[1] + (_KEPT - 1) * expected.rungs.get(3, 0.0)
    return Room(
        estimate=worst,
        needed_gib=needed,
        free_gib=free,
        cards=cards,
        cache_gib=_cache_bytes(settings, sizes_px) / GIB,
        cache_free_gib=free_disk_gib(settings.feature_cache),
        results_gib=kept * checkpoint + _RECORDS_GIB,
        results_free_gib=free_disk_gib(settings.out),
    )


def free_disk_gib(folder: Path) -> float:
    """Free room of the disk on which `folder` is or will be made."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(nearest).free / GIB


def available_memory_gib() -> float:
    """Main memory that new processes may take."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def _cards(settings: SearchSettings) -> tuple[Card, ...]:
    """The GPUs of this machine that lanes would get; none where a cluster's would be taken."""
    if not settings.gpus or settings.address:
        return ()
    cards = []
    for number in range(settings.gpus):
        free, total = torch.cuda.mem_get_info(number)
        cards.append(Card(torch.cuda.get_device_name(number), free / GIB, total / GIB))
    return tuple(cards)


def _highest(settings: SearchSettings, path: str) -> float:
    dimension = settings.search_space.dimensions.get(path)
    return max(settings.search_space.possible(path) if dimension is None else dimension.values)


def _cache_bytes(settings: SearchSettings, sizes_px: Sequence[tuple[int, int]]) -> int:
    dtype = torch.bfloat16 if settings.model.precision == "bf16" else torch.float32
    dims = read_dims(model_folder(settings.model.model))
    one_way = features_bytes(dims, sizes_px, dtype, raw_high_res=settings.raw_high_res)
    return one_way * len(variants_of(settings.lane.augment))


def _telling(sizes_px: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The sizes that may take the most memory: the most pixels, and the widest and tallest shapes."""
    distinct = sorted(set(sizes_px))
    by = (lambda size: size[0] * size[1], lambda size: size[0] / size[1], lambda size: size[1] / size[0])
    return list(dict.fromkeys(max(distinct, key=measure) for measure in by))
