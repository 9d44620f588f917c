"""What follows the trials of a search: refits, the test part, the check of the export. In processes and images."""

from collections.abc import Mapping
from dataclasses import dataclass

_ROWS = 3
"""What is scored on the test part: winner, recipe and untuned base."""

_REFITS = 2
"""What is trained again on all images, if that form is exported: winner and recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalWork:
    """processes: those that load the base model, one after the other. trained, predicted: images, each counted as often
    as it is."""

    processes: int
    trained: int
    predicted: int


def final_work(images: Mapping[str, int], *, epochs: int, refits: bool) -> FinalWork:
    """images: number in each part as a trial uses it; with folds, all outside the test part are val. epochs: most of a
    trial. refits: whether a refit is exported."""
    test, val = images.get("test", 0), images.get("val", 0)
    refitted = _REFITS if refits else 0
    return FinalWork(
        processes=refitted + 2,  # one scores the test part, another checks the export
        trained=refitted * epochs * (sum(images.values()) - test),
        # Each row predicts val, too, for its own threshold. The check predicts val once.
        predicted=_ROWS * (test + val) + val,
    )
