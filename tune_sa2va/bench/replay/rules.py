"""The rules that are simulated, by name. Each differs in one respect from one of a few basic rules.

`one split, last epoch` and `folds as searched` are what a search does without and with `--folds`, except that the
sampler is random unless named. `one split, best epoch` is what searches did before there were folds. For rules with
folds, the best epoch counts unless another is named.
"""

from dataclasses import replace

from tune_sa2va.bench.replay.rule import Rule
from tune_sa2va.schedule.fold_judge import LEVEL as HOPELESS
from tune_sa2va.score.against_recipe import LEVEL

TODAY = "one split, best epoch, 24 trials"

_BEST = Rule()
_LAST = Rule(epoch="last")
_FOLDS = Rule(folds=True)
_SEARCHED = replace(_FOLDS, hopeless=HOPELESS, level=LEVEL)
_ON_FOLDS = replace(_LAST, confirm=3, confirm_on_folds=True)
_STOPS = [(grace, factor) for grace in (1, 2, 4) for factor in (2, 3, 4) if (grace, factor) != (1, 3)]

RULES: dict[str, Rule] = {
    "one split, best epoch, 12 trials": replace(_BEST, trials=12),
    TODAY: _BEST,
    "one split, best epoch, 40 trials": replace(_BEST, trials=40),
    "one split, last epoch, 12 trials": replace(_LAST, trials=12),
    "one split, last epoch, 24 trials": _LAST,
    "one split, last epoch, 40 trials": replace(_LAST, trials=40),
    "one split, last epoch, of trials that ran to the end": replace(_LAST, epoch="whole"),
    "one split, last epoch, TPE": replace(_LAST, sampler="tpe"),
    "one split, last epoch, GP": replace(_LAST, sampler="gp"),
    "one split, last epoch, no early stop": replace(_LAST, grace_period=None),
    "one split, last epoch, not within noise": replace(_LAST, noise=1.0),
    **{
        f"one split, last epoch, grace {grace}, 1/{factor}": replace(_LAST, grace_period=grace, reduction_factor=factor)
        for grace, factor in _STOPS
    },
    **{f"one split, last epoch, recipe stands at {level}": replace(_LAST, level=level) for level in (0.25, 0.1, 0.05)},
    "one split, last epoch, 3 confirmed with another seed": replace(_LAST, confirm=3),
    "one split, last epoch, 3 confirmed on folds": _ON_FOLDS,
    "one split, last epoch, 5 confirmed on folds": replace(_ON_FOLDS, confirm=5),
    "one split, last epoch, 5 confirmed on folds, recipe stands at 0.05": replace(_ON_FOLDS, confirm=5, level=LEVEL),
    "folds as searched, 12 trials": replace(_SEARCHED, trials=12),
    "folds as searched, 24 trials": _SEARCHED,
    "folds as searched, 40 trials": replace(_SEARCHED, trials=40),
    "folds as searched, TPE": replace(_SEARCHED, sampler="tpe"),
    "folds as searched, 3 confirmed with another seed": replace(_SEARCHED, confirm=3),
    "folds, 6 trials": replace(_FOLDS, trials=6),
    "folds, 12 trials": replace(_FOLDS, trials=12),
    "folds, 24 trials": _FOLDS,
    "folds, last epoch": replace(_FOLDS, epoch="last"),
    "folds, no early stop": replace(_FOLDS, grace_period=None),
    "folds, not within noise": replace(_FOLDS, noise=1.0),
    **{
        f"folds, grace {grace}, 1/{factor}": replace(_FOLDS, grace_period=grace, reduction_factor=factor)
        for grace, factor in _STOPS
    },
    "folds, hopeless at 0.01": replace(_FOLDS, hopeless=0.01),
    "folds, hopeless at 0.05": replace(_FOLDS, hopeless=0.05),
    "folds, hopeless at 0.05 from epoch 3": replace(_FOLDS, hopeless=0.05, hopeless_from=3),
    "folds, hopeless at 0.05 from epoch 3, no ASHA": replace(_FOLDS, hopeless=0.05, hopeless_from=3, grace_period=None),
    **{f"folds, recipe stands at {level}": replace(_FOLDS, level=level) for level in (0.25, 0.1, 0.05, 0.02)},
    "folds, recipe stands at 0.05, bootstrap": replace(_FOLDS, level=0.05, test="bootstrap"),
}
"""Simulated on every recording, complete and narrowed."""

SPLIT: dict[str, Rule] = {
    f"{name}; parts split": replace(RULES[name], parts="split")
    for name in (TODAY, "one split, last epoch, 24 trials", "folds as searched, 24 trials", "folds, 24 trials")
}
"""The same with groups split as in a search, on the narrowed recordings; `Rule.parts` says why this is biased."""
