"""The rules that a search goes by, as far as recorded runs can tell them apart."""

from dataclasses import dataclass
from typing import Literal

from tune_sa2va.evaluate.one_sided import PairedTest
from tune_sa2va.results.settings import SamplerName


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One way to search. The defaults are those of a search with one split, no confirmation and ASHA 1/3.

    folds: a trial trains an adapter a fold and is scored on all searched images; else one, scored on the validation
    part. grace_period: None never stops a trial. noise: standard errors by which a trial must be behind the trial at
    ASHA's cutoff to be stopped. hopeless: level of `schedule.hopeless_folds`, after each fold from epoch
    `hopeless_from` on; the trial to beat is the best so far. confirm: finalists that run again with the next seed, and
    the recipe beside them. confirm_on_folds: they are scored on all searched images, by an adapter a fold, and these
    scores alone decide. epoch: whose adapter and score stand for a trial. "best": its best; "last": the last that it
    reached; "whole": that of trials that ran to their end, and the others cannot win. level: of `score.beats_recipe`;
    None exports the best, whatever it is.
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
    """Of the images."""
    parts: Literal["split", "drawn"] = "drawn"
    """split: groups are parted, as in a search. drawn: each part's groups are drawn with replacement from all, by
    itself: a data set of a population that the recorded groups stand for. A split of few groups plays a trick: the
    locked ones are what the searched ones are not, so where a configuration looks good on nearly all groups it must
    look bad on the rest, and rules that look at more groups seem worse."""
