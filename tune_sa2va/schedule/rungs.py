"""ASHA's rungs: the epochs at which it decides, and how many of the trials that reach one continue. Imports no Ray.

grace_period: the first rung, in epochs. reduction_factor: f; the best 1/f of the trials at a rung continue, and the
next rung is f times as far.
"""


def rungs(epochs: int, *, grace_period: int, reduction_factor: int) -> tuple[int, ...]:
    """The epochs before the last (`epochs`) at which a trial may be stopped, such as 1, 3, 9 for f = 3."""
    found, epoch = [], grace_period
    while epoch < epochs:
        found.append(epoch)
        epoch *= reduction_factor
    return tuple(found)


def chance_to_go_on(recorded: float, *, reduction_factor: int) -> float:
    """The probability that a trial passes a rung, if its value is exchangeable with the `recorded` values there.

    recorded: m, the number of values at the rung. Ray's cutoff is their percentile 1 - 1/f, with linear interpolation,
    which lies at rank q = (m - 1)(1 - 1/f). A new value falls into each of the m + 1 gaps with equal probability, and
    m - q of the gaps are above the cutoff (the gap that contains it counts in part). The first trial always passes.
    """
    if recorded < 1:
        return 1.0
    place = (recorded - 1) * (1 - 1 / reduction_factor)
    return (recorded - place) / (recorded + 1)
