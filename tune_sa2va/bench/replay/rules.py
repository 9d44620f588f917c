"""The rules that are played, by name. Each differs from one of a few in a single thing.

`one split, best epoch` is what searches did before there were folds: scores of the validation part, the best epoch of
the best trial. With `last epoch`, and where no epoch is named, only trials that ran to their end can win, by it.
"""

from dataclasses import replace

from tune_sa2va.bench.replay.rule import Rule

TODAY = "one split, best epoch, 24 trials"

_LAST = Rule(epoch="last")
_FOLDS = Rule(folds=True, epoch="last")
_CONFIRMED = replace(_LAST, confirm=3, confirm_on_folds=True)
_LEVELS = (0.25, 0.1, 0.05, 0.02)

MAIN: dict[str, Rule] = {
    TODAY: Rule(),
    "one split, last epoch, 24 trials": _LAST,
    "one split, last epoch, 40 trials": replace(_LAST, trials=40),
    "folds, last epoch, 12 trials": replace(_FOLDS, trials=12),
    "folds, last epoch, 24 trials": _FOLDS,
    "folds, best epoch, 24 trials": replace(_FOLDS, epoch="best"),
    "one split, last epoch, 3 confirmed on folds": _CONFIRMED,
    "one split, last epoch, 5 confirmed on folds": replace(_CONFIRMED, confirm=5),
    "one split, last epoch, 40 trials, 5 confirmed on folds": replace(_CONFIRMED, confirm=5, trials=40),
    **{
        f"one split, last epoch, 5 confirmed on folds, recipe stands at {level}": replace(
            _CONFIRMED, confirm=5, level=level
        )
        for level in _LEVELS
    },
    "folds, best epoch, hopeless at 0.01, recipe stands at 0.05": Rule(folds=True, hopeless=0.01, level=0.05),
    "folds, best epoch, hopeless at 0.01": Rule(folds=True, hopeless=0.01),
    "folds, hopeless at 0.01": replace(_FOLDS, hopeless=0.01),
    "folds, hopeless at 0.05": replace(_FOLDS, hopeless=0.05),
    "folds, hopeless at 0.05 from epoch 3": replace(_FOLDS, hopeless=0.05, hopeless_from=3),
    **{f"folds, recipe stands at {level}": replace(_FOLDS, level=level) for level in _LEVELS},
}
"""Played on every recording, whole and narrowed."""

MORE: dict[str, Rule] = {
    "folds, best epoch, 40 trials, hopeless at 0.01, recipe stands at 0.05": Rule(
        folds=True, hopeless=0.01, level=0.05, trials=40
    ),
    "one split, best epoch, 12 trials": Rule(trials=12),
    "one split, best epoch, 40 trials": Rule(trials=40),
    "one split, best epoch, no early stop": Rule(grace_period=None),
    "one split, last epoch, no early stop": replace(_LAST, grace_period=None),
    "one split, best epoch, 3 confirmed with another seed": Rule(confirm=3),
    "one split, last epoch, 3 confirmed with another seed": replace(_LAST, confirm=3),
    **{f"one split, last epoch, recipe stands at {level}": replace(_LAST, level=level) for level in (0.25, 0.1, 0.05)},
    **{
        f"one split, last epoch, grace {grace}, 1/{factor}": replace(_LAST, grace_period=grace, reduction_factor=factor)
        for grace in (1, 2, 4)
        for factor in (2, 3, 4)
        if (grace, factor) != (1, 3)
    },
    "one split, last epoch, not within noise": replace(_LAST, noise=1.0),
    "folds, last epoch, 6 trials": replace(_FOLDS, trials=6),
    "folds, no early stop": replace(_FOLDS, grace_period=None),
    **{
        f"folds, grace {grace}, 1/{factor}": replace(_FOLDS, grace_period=grace, reduction_factor=factor)
        for grace, factor in ((1, 2), (1, 4), (2, 3), (4, 3))
    },
    "folds, not within noise": replace(_FOLDS, noise=1.0),
    "folds, hopeless at 0.2 from epoch 3": replace(_FOLDS, hopeless=0.2, hopeless_from=3),
    "folds, hopeless at 0.05 from epoch 3, no ASHA": replace(_FOLDS, hopeless=0.05, hopeless_from=3, grace_period=None),
    "folds, recipe stands at 0.05, bootstrap": replace(_FOLDS, level=0.05, test="bootstrap"),
    "folds, 3 confirmed with another seed": replace(_FOLDS, confirm=3),
    "one split, last epoch, TPE": replace(_LAST, sampler="tpe"),
    "folds, TPE": replace(_FOLDS, sampler="tpe"),
    "one split, last epoch, GP": replace(_LAST, sampler="gp"),
}
"""Played on the narrowed recordings alone, where rules differ."""

SPLIT: dict[str, Rule] = {
    f"{name}; parts split": replace(rule, parts="split")
    for name, rule in {
        TODAY: Rule(),
        "one split, last epoch, 24 trials": _LAST,
        "folds, last epoch, 24 trials": _FOLDS,
        "folds, recipe stands at 0.02": replace(_FOLDS, level=0.02),
    }.items()
}
"""The same on groups that are parted as in a search: `Rule.parts` says why this is not the measure."""
