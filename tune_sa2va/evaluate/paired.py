"""Decides whether one model is better than another on the same images. Only this file says "better", "worse" or "tie".

The unit is the group (a patient or a video): images of one patient are alike, so many of them are hardly more evidence
than one. A difference counts only if two criteria agree:

- the 95% interval of the mean difference, by bootstrap over groups (`evaluate.bootstrap`), does not contain 0;
- Wilcoxon's signed-rank test over the groups' mean differences has p < 0.05 (two-sided, exact).

Each makes up for a weakness of the other. The interval is about the mean that is shown, but with few groups it is too
narrow: without any difference it excludes 0 in 10 to 15% of draws of six to ten groups. The test is exact for any
number of groups (if differences are symmetric about 0), but uses only ranks. With five groups or fewer its p cannot be
below 0.05, so with fewer than six groups the verdict is "too few", whatever the interval.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata, wilcoxon

from tune_sa2va.evaluate.bootstrap import Interval, group_sums, mean_interval, resampled_range, text_weights

MIN_GROUPS = 6
"""Groups needed for any verdict but `TOO_FEW`: the smallest p of six groups is 2 / 2^6 = 0.031, of five 0.063."""

LEVEL = 0.05
_LARGEST_EXACT = 50
"""Groups up to which the test is exact; with more, the normal approximation is as good."""


class Word(StrEnum):
    """The verdict of a comparison."""

    BETTER = "better"
    WORSE = "worse"
    TIE = "tie"
    TOO_FEW = "too few patients to say"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Compares one model with another by one measure, on the same images."""

    difference: Interval
    """The first model's values minus the second's, mean over images."""
    p_value: float
    """Of the signed-rank test over groups; 1 if all differences are 0, NaN without a pair."""
    word: Word

    @property
    def is_disputed(self) -> bool:
        """Whether interval and test disagree, which makes it a tie."""
        leaves_out_0 = self.difference.low > 0.0 or self.difference.high < 0.0
        return self.word is Word.TIE and leaves_out_0 != (self.p_value < LEVEL)


def compare(
    a: Sequence[float],
    b: Sequence[float],
    groups: Sequence[Hashable],
    texts: Sequence[str] | None = None,
    *,
    higher_is_better: bool = True,
) -> Comparison:
    """Compares `a` with `b`: paired values of the same images. A pair with a NaN is left out.

    groups: the group of each image. texts: what each image was asked for, each text with the same weight; None if all
    were asked for the same.

    Raises:
        ValueError: `a`, `b`, `groups` or `texts` differ in length.
    """
    if len(a) != len(b):
        raise ValueError(f"paired values must come from the same images, got {len(a)} and {len(b)} of them")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    interval = mean_interval(differences.tolist(), groups, texts)
    is_pair = ~np.isnan(differences)
    weights = text_weights([text for text, pair in zip(texts or [""] * len(a), is_pair, strict=True) if pair])
    pair_groups = [group for group, pair in zip(groups, is_pair, strict=True) if pair]
    sums, sizes = group_sums(differences[is_pair] * weights, pair_groups)[0], group_sums(weights, pair_groups)[0]
    p_value = signed_rank(sums / sizes)
    return Comparison(
        difference=interval,
        p_value=p_value,
        word=_word(interval.low, interval.high, p_value, len(sizes), higher_is_better=higher_is_better),
    )


def words(
    differences: Float[np.ndarray, "draws N"], groups: Sequence[Hashable], *, resamples: int = 1_000
) -> list[Word]:
    """The verdict on each draw of differences on the same N images (higher is better). For simulations."""
    sums, sizes = group_sums(differences, groups)
    lows, highs = resampled_range(sums, sizes, confidence=1.0 - LEVEL, resamples=resamples, seed=0)
    p_values = map(signed_rank, sums / sizes)
    return [_word(*found, len(sizes), higher_is_better=True) for found in zip(lows, highs, p_values, strict=True)]


def signed_rank(differences: Float[np.ndarray, " G"]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test, zeros left out. Exact up to 50 differences, even with ties.

    1 if all differences are 0, NaN if there are none. scipy's exact test is not used: with ties or zeros it enumerates
    all signs in Python, which takes 4 s for 13 differences.
    """
    kept = differences[differences != 0.0]
    if not len(differences):
        return float("nan")
    if not len(kept):
        return 1.0
    if len(kept) > _LARGEST_EXACT:
        return float(wilcoxon(kept, method="asymptotic").pvalue)
    doubled = np.rint(2 * rankdata(np.abs(kept))).astype(int)  # tied ranks can be halves; doubled they are integers
    # Probability of each sum of the positive differences' doubled ranks, if every sign is equally likely.
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    above = doubled[kept > 0].sum()
    return float(min(1.0, 2 * min(chance[: above + 1].sum(), chance[above:].sum())))


def sentence(comparisons: Mapping[str, Comparison], *, subject: str = "the winner", by: str = "Dice") -> str:
    """All comparisons of one subject in words. comparisons: name of the other model ("the recipe") -> the outcome."""
    forms = {Word.BETTER: "is better than", Word.WORSE: "is worse than", Word.TIE: "ties with"}
    judged = {other: c for other, c in comparisons.items() if c.word is not Word.TOO_FEW}
    too_few = {other: c for other, c in comparisons.items() if c.word is Word.TOO_FEW}
    sentences = []
    if judged:
        outcomes = " and ".join(f"{forms[c.word]} {other}" for other, c in judged.items())
        groups = max(c.difference.num_groups for c in judged.values())
        who = f"{subject[0].upper()}{subject[1:]}"
        sentences.append(f"{who} {outcomes} by {by} (paired, {groups} patients or other groups).")
    if too_few:
        groups = min(c.difference.num_groups for c in too_few.values())
        sentences.append(
            f"{Word.TOO_FEW.capitalize()} whether {subject} is better than {' or '.join(too_few)}: {groups}, and it "
            f"takes {MIN_GROUPS}."
        )
    return " ".join(sentences)


def _word(low: float, high: float, p_value: float, num_groups: int, *, higher_is_better: bool) -> Word:
    if num_groups < MIN_GROUPS:
        return Word.TOO_FEW
    if not p_value < LEVEL or low <= 0.0 <= high:
        return Word.TIE
    return Word.BETTER if (low > 0.0) == higher_is_better else Word.WORSE
