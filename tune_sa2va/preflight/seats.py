"""How many trials share a lane if `--trials-per-gpu` is auto: the most that may be of use, and why no more.

A step costs all seats of a lane, also those that nobody takes. So seats are of use where the card has room for more
work, and where all trials can share their steps. What is left open here, a lane measures at its start (`lane.host`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from tune_sa2va.config import Precision, TrialConfig
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.search_space import SearchSpace
from tune_sa2va.train.step_kind import KIND_FIELDS, sits_alone, step_kind
from tune_sa2va.words import count, listed

if TYPE_CHECKING:
    from tune_sa2va.train.memory import MemoryEstimate

_MOST: dict[Precision, int] = {"bf16": 4, "fp8": 8}
"""More gain little: on an H100 the 8B in bf16 made 61.1 image-steps a second with 4 seats and 63.4 with 8, for 10 GiB
more; over a base in fp8 79.2 and 86.0 (results/bench/2026-11-27_4xh100)."""

FIRST_EPOCH = 1.24
"""Memory of the first epoch, in which kernels are compiled, as a multiple of the estimate: the most that was measured
(results/bench/2026-11-27_4xh100)."""


@dataclass(frozen=True, slots=True)
class Seats:
    """A number of seats, and why it is not higher, as the end of a sentence."""

    number: int
    reason: str


def most_seats(
    space: SearchSpace, *, gpus: int, gpus_per_trial: int, precision: Precision, trials: int, lanes: int
) -> Seats:
    """The most seats of a lane, from all but its memory. A power of two, as they are halved if memory runs out."""
    if not gpus:
        return Seats(1, "what more would gain was not measured on CPUs")
    if gpus_per_trial > 1:
        # And if memory ran out on one GPU while seats are measured, the others would wait for it in a sum.
        return Seats(1, "what more would gain was not measured with several GPUs per trial")
    if fields := deciding_fields(space):
        return Seats(1, f"trials differ in {listed(fields, 3)}, and only those that do not can share steps")
    if sits_alone(space.base):
        return Seats(1, "trials that train the neck in full cannot share steps")
    of_lane = -(-trials // lanes)
    if of_lane < _MOST[precision]:
        return Seats(_power_of_two(of_lane), f"there are {count(trials, 'trial')} for {count(lanes, 'lane')}")
    return Seats(_MOST[precision], f"more gain little in {precision}")


def fitting_seats(settings: SearchSettings, free_gib: float, estimate: "Callable[[int], MemoryEstimate]") -> Seats:
    """As many of the settings' seats as fit, the first epoch included.

    free_gib: free memory of the fullest card. estimate: of a lane with so many seats.
    """
    seats, reason = settings.seats, settings.seats_reason
    while seats > 1 and (needed := FIRST_EPOCH * estimate(seats).card_gib) > free_gib:
        reason = f"{seats} might take {needed:.1f} GiB while kernels are compiled, and {free_gib:.1f} GiB are free"
        seats //= 2
    return Seats(seats, reason)


def seats_words(settings: SearchSettings) -> str:
    """How many trials share a lane and why, in a sentence. Empty if the number was given."""
    if not settings.seats_reason:
        return ""
    if not settings.probes_seats:
        return f"1 trial per GPU: {settings.seats_reason}."
    return (
        f"At most {settings.seats} trials per GPU: {settings.seats_reason}. Each lane measures at its start "
        "whether they are faster than one."
    )


def deciding_fields(space: SearchSpace) -> list[str]:
    """The searched fields in which trials differ that cannot share a step."""
    values = {path: space.dimensions[path].values for path in KIND_FIELDS if path in space.dimensions}
    base = space.base.replace({"data.augment": "none"})  # cached variants are no matter of the step

    def kinds(path: str, others: TrialConfig) -> int:
        return len({step_kind(others.replace({path: value})) for value in values[path]})

    found = []
    for path in values:
        rest = [other for other in values if other != path]
        points = product(*(values[other] for other in rest))
        if any(kinds(path, base.replace(dict(zip(rest, point, strict=True)))) > 1 for point in points):
            found.append(path)
    return found


def _power_of_two(most: int) -> int:
    """The largest power of two up to `most`."""
    return 1 << (most.bit_length() - 1)
