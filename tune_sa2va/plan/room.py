"""The memory and disk space that a search takes, and what is free: for each lane, the feature cache and the results."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tune_sa2va.cache.room import features_bytes
from tune_sa2va.data.variants import variants_of
from tune_sa2va.doctor.machine import available_memory_gib, free_disk_gib
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.preflight.cards import Card, cards
from tune_sa2va.preflight.lane_memory import lane_memory
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.expected_length import Expectation
from tune_sa2va.train.memory import MemoryEstimate

GIB = 2**30
_PROCESS_GIB = 0.9
"""What a worker on a CPU takes besides its tensors: Python with torch, transformers and Ray. A guess, not measured."""
_BYTES_A_VALUE = 3 * 4
"""Bytes per trained value in a checkpoint: the value and AdamW's two moments, in fp32."""
_KEPT = 3
"""Checkpoints that are kept of a trial: the last, the one before, and the best."""
_RECORDS_GIB = 0.05
"""Tables, and the files of Ray and Tune."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a search takes and what is free.

    estimate: memory of the most demanding trial on the most demanding image. needed_gib: memory of a lane, per card or
    in main memory. free_gib: memory of the fullest card, or a lane's share of main memory; None if the cards are not
    known. cards: those that the lanes would get; empty on CPUs. cache_gib: features of all images. results_gib: mostly
    checkpoints.
    """

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
    """The room for a search. memory: a `MemoryMode`. sizes_px: (height, width) of each image.

    card: every GPU is of this kind, in another machine; None for the GPUs of this machine.
    """
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


def _cache_bytes(settings: SearchSettings, sizes_px: Sequence[tuple[int, int]]) -> int:
    dtype = torch.bfloat16 if settings.model.plain_precision == "bf16" else torch.float32
    dims = read_dims(model_folder(settings.model.model))
    one_way = features_bytes(dims, sizes_px, dtype, raw_high_res=settings.raw_high_res)
    return one_way * len(variants_of(settings.lane.augment))
