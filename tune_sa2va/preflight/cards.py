"""The GPUs of this machine and their free memory, without taking any of it.

Asked through torch, each card would hold half a GiB for this process's CUDA context as long as the search runs. So
`nvidia-smi` is asked, and torch only where that does not answer for every card.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """The GPUs of this machine that lanes would get; none where a cluster's would be taken."""
    if not settings.gpus or settings.address:
        return ()
    told = visible(query(*_FIELDS) or [], os.environ)[: settings.gpus]
    return told if len(told) == settings.gpus else tuple(_ask_torch(number) for number in range(settings.gpus))


def visible(listed: Sequence[Sequence[str]], environment: Mapping[str, str]) -> tuple[Card, ...]:
    """The cards of the driver's list (`_FIELDS`) that CUDA_VISIBLE_DEVICES lets through, in its order.

    It names them by number or by the start of their UUID. The first one that is not told ends them.
    """
    found: dict[str, Card | None] = {}
    for index, uuid, name, *mib in listed:
        try:
            free, total = (float(word) / 1024 for word in mib)
            found[f"{index} {uuid}"] = Card(name, free, total)
        except ValueError:  # "[N/A]": a card cut into instances
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


def _ask_torch(number: int) -> Card:
    import torch

    free, total = torch.cuda.mem_get_info(number)
    return Card(torch.cuda.get_device_name(number), free / 2**30, total / 2**30)
