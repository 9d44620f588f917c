"""The GPUs of this machine and their free memory, read without taking any of it.

If torch were asked, each GPU would hold half a GiB for this process's CUDA context as long as the search runs. So
`nvidia-smi` is asked, and torch only if `nvidia-smi` does not answer for every GPU.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_sa2va.errors import DeviceError
from tune_sa2va.nvidia_smi import query
from tune_sa2va.results.settings import SearchSettings

_FIELDS = ("index", "uuid", "name", "memory.free", "memory.total")


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU that a lane would get."""

    name: str
    free_gib: float
    total_gib: float


def cards(settings: SearchSettings) -> tuple[Card, ...]:
    """The GPUs of this machine that lanes would get; empty on CPUs, and for a cluster at --address."""
    if not settings.gpus or settings.address:
        return ()
    told = visible(query(*_FIELDS) or [], os.environ)[: settings.gpus]
    return told if len(told) == settings.gpus else tuple(_ask_torch(number) for number in range(settings.gpus))


def visible(listed: Sequence[Sequence[str]], environment: Mapping[str, str]) -> tuple[Card, ...]:
    """The cards in the driver's list (`_FIELDS`) that CUDA_VISIBLE_DEVICES selects, in its order.

    The variable names cards by number or by the start of their UUID. The result ends before the first card that is
    unknown, ambiguous or has no memory figures.
    """
    found: dict[str, Card | None] = {}
    for index, uuid, name, *mib in listed:
        try:
            free, total = (float(word) / 1024 for word in mib)
            found[f"{index} {uuid}"] = Card(name, free, total)
        except ValueError:  # "[N/A]": a card split into MIG instances
            found[f"{index} {uuid}"] = None
    chosen = list(found.values())
    if (wanted := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        named = [
            [key for key in found if key.split()[0] == word or key.split()[1].startswith(word)]
            for word in filter(None, map(str.strip, wanted.split(",")))
        ]
        chosen = [found[keys[0]] if len(keys) == 1 else None for keys in named]
    told = chosen[: chosen.index(None)] if None in chosen else chosen
    return tuple(filter(None, told))


KNOWN = {
    "B200": ("NVIDIA B200", 178.0),
    "H200": ("NVIDIA H200", 139.8),
    "H100": ("NVIDIA H100 80GB HBM3", 79.2),
    "A100-80": ("NVIDIA A100-SXM4-80GB", 79.2),
    "A100-40": ("NVIDIA A100-SXM4-40GB", 39.4),
    "L40S": ("NVIDIA L40S", 44.4),
    "A6000": ("NVIDIA RTX A6000", 47.4),
    "RTX4090": ("NVIDIA GeForce RTX 4090", 23.5),
    "RTX3090": ("NVIDIA GeForce RTX 3090", 23.6),
}
"""Kind -> torch's name of the card, and its total memory in GiB as CUDA reports it. Read from an H100 and an H200; the
others are typical values for cards of that size."""
_TAKEN_GIB = 0.5
"""Memory that the driver takes on an otherwise empty card."""


def card_of(kind: str) -> Card:
    """A card that is not in this machine and that nothing else uses. kind: a name of `KNOWN`, or GiB of memory.

    Raises:
        UserError: `kind` is neither.
    """
    if (known := KNOWN.get(kind.upper())) is not None:
        name, total = known
        return Card(name, total - _TAKEN_GIB, total)
    try:
        total = float(kind)
    except ValueError:
        total = 0.0
    if not 1 <= total <= 10_000:
        raise DeviceError(f"--card must be one of {', '.join(KNOWN)}, or GiB of memory from 1 to 10000, got {kind!r}.")
    return Card(f"a card of {total:g} GiB", total - _TAKEN_GIB, total)


def _ask_torch(number: int) -> Card:
    import torch

    free, total = torch.cuda.mem_get_info(number)
    return Card(torch.cuda.get_device_name(number), free / 2**30, total / 2**30)
