"""ASHA's decision about a trial at a rung, and its words for logs and screens. Imports no Ray."""

from dataclasses import dataclass
from enum import StrEnum


class RungOutcome(StrEnum):
    """What ASHA does with a trial at a rung."""

    PASSED = "passed"
    STOPPED = "stopped"
    SPARED = "spared"
    """Below the cutoff, but not stopped because it is the recipe."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a trial at a rung.

    rung: an epoch. val_dice: of the trial, in [0, 1]. cutoff: the Val Dice that `others`, the number of trials that
    were at the rung before, require; None for the first trial there.
    """

    rung: int
    val_dice: float
    cutoff: float | None
    others: int
    outcome: RungOutcome

    @property
    def words(self) -> str:
        """The decision and its reason, in one line."""
        if self.cutoff is None:
            return f"passed rung {self.rung}: the first trial there"
        is_below = self.outcome is not RungOutcome.PASSED
        outcome = f"{self.outcome} at rung {self.rung}" if is_below else f"passed rung {self.rung}"
        reason = f"val Dice {self.val_dice:.4f} {'is below' if is_below else 'reaches'} the cutoff {self.cutoff:.4f}"
        why = ", as the recipe" if self.outcome is RungOutcome.SPARED else ""
        return f"{outcome}{why}: {reason} of {self.others} before it"
