"""The rules of a search whose effect recorded runs can show."""

from dataclasses import dataclass
from typing import Literal

from tune_sa2va.evaluate.one_sided import PairedTest
from tune_sa2va.results.settings import SamplerName


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One way to search. The defaults: one split, ASHA 1/3, no confirmation.

    folds: whether a trial trains an adapter per fold and is scored on all searched images, or one adapter, scored on
        the validation part.
    grace_period: epochs before ASHA may stop a trial; None: no trial is stopped.
    noise: number of standard errors by which a trial must trail the one at ASHA's cutoff to be stopped; None: any.
    hopeless: level of `schedule.hopeless_folds`, tested after each fold from epoch `hopeless_from` on, against the best
        trial so far; None: no trial is given up.
    confirm: number of finalists that run again with the next seed, together with the recipe.
    confirm_on_folds: whether the reruns are scored on all searched images, by an adapter per fold, and alone decide.
    epoch: whose adapter and score count for a trial: "best", its best epoch; "last", the last that it reached; "whole",
        the last, and only trials that ran to their end can win.
    level: of `score.beats_recipe`; None: the best is always exported.
    """

    trials: int = 24
    sampler: SamplerName = "random"
    folds: bool = False
    grace_period: int | None = 1
    reduction_factor: int = 3
    noise: float | None = None
    hopeless: float | None = None
    hopeless_from: int = 1
    confirm: int = 0
    confirm_on_folds: bool = False
    epoch: Literal["best", "last", "whole"] = "best"
    level: float | None = None
    test: PairedTest = "signed_rank"
    locked_share: float = 0.15
    """Share of the images that are locked."""
    parts: Literal["split", "drawn"] = "drawn"
    """split: groups are split as in a search. drawn: the groups of each part are drawn with replacement from all,
    independently, as from a population that the recorded groups represent. A split of few groups is biased: the locked
    groups are exactly those that were not searched, so a configuration that looks too good on most groups must look too
    bad on the rest, and rules that use more groups seem worse."""
