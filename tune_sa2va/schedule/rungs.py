"""ASHA's rungs: the epochs at which it decides, and how many of the trials that reach one go on. No Ray here.

grace_period: the first rung, in epochs. reduction_factor: f, where of the trials at a rung the best 1/f go on, and the
next rung is f times as far.
"""


def rungs(epochs: int, *, grace_period: int, reduction_factor: int) -> tuple[int, ...]:
    """The epochs at which a trial of `epochs` epochs may be stopped, below the last: 1, 3, 9, ... from 1 by thirds."""
    found, epoch = [], grace_period
    while epoch < epochs:
        found.append(epoch)
        epoch *= reduction_factor
    return tuple(found)


def chance_to_go_on(recorded: float, *, reduction_factor: int) -> float:
    """The chance that a trial no better or worse than the `recorded` ones at its rung is not stopped there.

    Ray's cutoff is the percentile 1 - 1/factor of the recorded values, with linear interpolation, and lies at place
    q = (m - 1)(1 - 1/factor) of their order; a new value falls with equal chance into each of the m + 1 gaps. Of those
    m - q are above the cutoff (the one that holds it counts in part). The first trial at a rung always goes on.
    """
    if recorded < 1:
        return 1.0
    place = (recorded - 1) * (1 - 1 / reduction_factor)
    return (recorded - place) / (recorded + 1)
