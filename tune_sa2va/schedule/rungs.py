"""ASHA's rungs: the epochs at which it decides, and how many of the trials that reach one go on. No Ray here."""

REDUCTION_FACTOR = 3
"""ASHA keeps the best third at each rung (1, 3, 9, ... epochs)."""


def rungs(epochs: int) -> tuple[int, ...]:
    """The epochs at which a trial of `epochs` epochs may be stopped: 1, 3, 9, ... below the last."""
    found, epoch = [], 1
    while epoch < epochs:
        found.append(epoch)
        epoch *= REDUCTION_FACTOR
    return tuple(found)


def chance_to_go_on(recorded: float) -> float:
    """The chance that a trial no better or worse than the `recorded` ones at its rung is not stopped there.

    Ray's cutoff is the percentile 1 - 1/factor of the recorded values, with linear interpolation, and lies at place
    q = (m - 1)(1 - 1/factor) of their order; a new value falls with equal chance into each of the m + 1 gaps. Of those
    m - q are above the cutoff (the one that holds it counts in part). The first trial at a rung always goes on.
    """
    if recorded < 1:
        return 1.0
    place = (recorded - 1) * (1 - 1 / REDUCTION_FACTOR)
    return (recorded - place) / (recorded + 1)
