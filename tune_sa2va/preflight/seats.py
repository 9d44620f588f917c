"""How many trials share a lane if `--trials-per-gpu` is auto: the most that may be of use, and why no more.

A step costs all seats of a lane, also those that nobody takes, and the recipe's epochs come one after another. So seats
are of use where the card has room for more work, where all trials can share their steps, and where each lane has many
of them. What is left open here, a lane measures at its start (`lane.host`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from tune_sa2va.config import Precision, TrialConfig
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.search_space import SearchSpace
from tune_sa2va.train.step_kind import KIND_FIELDS, sits_alone, step_kind
from tune_sa2va.words import listed

if TYPE_CHECKING:
    from tune_sa2va.train.memory import MemoryEstimate

_PACES: dict[Precision, dict[int, float]] = {
    "bf16": {1: 42.6, 2: 51.1, 4: 61.1},
    "fp8": {1: 45.5, 4: 79.2, 8: 86.0},
}
"""Image-steps a second by seats: the 8B at 512x512 on an H100 (results/bench/2026-11-27_4xh100; over fp8 with one seat
by its graphs). In bf16, 8 seats gain little, 63.4, for 10 GiB more."""

_GAIN = 1.1
"""How much sooner a search must be expected to end with several seats: measuring them takes minutes."""

FIRST_EPOCH = 1.24
"""Memory of the first epoch, in which kernels are compiled, as a multiple of the estimate: the most that was measured
(results/bench/2026-11-27_4xh100)."""


@dataclass(frozen=True, slots=True)
class Seats:
    """A number of seats, and why it is not higher, as the end of a sentence."""

    number: int
    reason: str


def most_seats(
    space: SearchSpace, *, gpus: int, gpus_per_trial: int, precision: Precision, rounds: Callable[[int], float]
) -> Seats:
    """The most seats of a lane, from all but its memory. A power of two, as they are halved if memory runs out.

    rounds: how many rounds of a lane the search is expected to take with so many seats in each.
    """
    if not gpus:
        return Seats(1, "what more would gain was not measured on CPUs")
    if gpus_per_trial > 1:
        # And if memory ran out on one GPU while seats are measured, the others would wait for it in a sum.
        return Seats(1, "what more would gain was not measured with several GPUs per trial")
    if fields := deciding_fields(space):
        return Seats(1, f"trials differ in {listed(fields, 3)}, and only those that do not can share steps")
    if sits_alone(space.base):
        return Seats(1, "trials that train the neck in full cannot share steps")
    lengths = {seats: seats * rounds(seats) / pace for seats, pace in _PACES[precision].items()}
    best = min(lengths, key=lambda seats: lengths[seats])
    number = best if lengths[1] / lengths[best] >= _GAIN else 1
    return Seats(number, "no other number is expected to end the search a tenth sooner")


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
