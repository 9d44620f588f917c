"""How many seats a lane takes after it has measured its pace with one and with several, and what it tells of that."""

from dataclasses import dataclass

from tune_sa2va.train.records import SeatPace

GAIN = 1.1
"""Least pace, relative to that of one seat, for which trials share steps. When a trial comes or goes, a seat is empty
for a while, and a step costs all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeatNews:
    """What a lane's host tells since it was last asked.

    seats: that the lane has now. notes, warnings: sentences. paces: measured, with one seat and with several; empty if
        nothing was.
    """

    seats: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    paces: tuple[SeatPace, ...] = ()


def chosen_seats(alone: SeatPace, together: SeatPace) -> int:
    """The number of seats of the better pace."""
    return together.seats if together.it_per_s >= GAIN * alone.it_per_s else 1


def choice_words(alone: SeatPace, together: SeatPace, *, asked: int) -> str:
    """What was measured and what follows, in a sentence. asked: seats that the lane was to have at most."""
    share = f"{together.seats} trials share each step" if chosen_seats(alone, together) > 1 else "one trial at a time"
    gib = ""
    if together.peak_gib:
        gib = f"; peak {together.peak_gib:.1f} GiB with {together.seats}, {together.estimate_gib:.1f} by the estimate"
    fewer = f" (memory ran out with {2 * together.seats})" if together.seats < asked else ""
    return (
        f"{share}{fewer}, as {together.it_per_s:.1f} images a second were trained with {together.seats} and "
        f"{alone.it_per_s:.1f} with one{gib}."
    )
