"""The room that a search takes: memory of each lane against the cards, the feature cache and the results on disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.cache.room import features_bytes
from tune_sa2va.data.variants import variants_of
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.preflight.cards import Card, cards
from tune_sa2va.preflight.lane_memory import lane_memory
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.expected_length import Expectation
from tune_sa2va.train.memory import MemoryEstimate

GIB = 2**30
_PROCESS_GIB = 0.9
"""A worker on a CPU besides its tensors, Python with torch, transformers and Ray: estimated, not measured."""
_BYTES_A_VALUE = 3 * 4
"""Of a trained value in a checkpoint: itself and AdamW's two moments, in fp32."""
_KEPT = 3
"""Checkpoints of a trial that are kept: the last, the one before, and the best."""
_RECORDS_GIB = 0.05
"""Tables, Ray's and Tune's own files."""


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


def measure_room(
    settings: SearchSettings,
    memory: str,
    sizes_px: Sequence[tuple[int, int]],
    expected: Expectation,
    *,
    card: Card | None = None,
) -> Room:
    """The room for a search on images of these sizes, (height, width). card: of another machine, all alike."""
    found = cards(settings) if card is None else (card,) * settings.gpus
    least = min((card.free_gib for card in found), default=float("inf"))
    _, worst = lane_memory(settings, memory, sizes_px, least)
    needed, free = worst.card_gib, least if found else None
    if not settings.gpus:
        needed = worst.card_gib + _PROCESS_GIB
        free = None if settings.address else available_memory_gib() / settings.lanes
    checkpoint = worst.trained_values * _BYTES_A_VALUE / GIB * (settings.folds or 1)
    at_first, at_second = [*expected.rungs.values(), 0.0][:2]
    kept = at_first + (_KEPT - 1) * at_second + settings.num_reruns
    return Room(
        estimate=worst,
        needed_gib=needed,
        free_gib=free,
        cards=found,
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


def _cache_bytes(settings: SearchSettings, sizes_px: Sequence[tuple[int, int]]) -> int:
    dtype = torch.bfloat16 if settings.model.precision == "bf16" else torch.float32
    dims = read_dims(model_folder(settings.model.model))
    one_way = features_bytes(dims, sizes_px, dtype, raw_high_res=settings.raw_high_res)
    return one_way * len(variants_of(settings.lane.augment))
