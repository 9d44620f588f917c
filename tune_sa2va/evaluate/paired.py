"""Whether one model is better than another on the same images: the only place that says "better", "worse" or "tie".

The unit is the group (a patient or a video): images of one patient are alike, and many of them are no more evidence
than one patient gives. Two looks must agree before a difference is called one:

- the 95% interval of the mean difference, by bootstrap over groups (`evaluate.bootstrap`), does not hold 0;
- Wilcoxon's signed-rank test over the groups' mean differences has p < 0.05 (two-sided, exact).

Each has what the other lacks. The interval is about the mean that is shown, but with few groups it is too narrow: with
no difference at all it leaves out 0 in 10 to 15% of draws of six to ten groups. The test is exact however few groups
there are (if differences lie evenly about 0), but looks at ranks. With five groups or fewer its p cannot be below 0.05,
so with fewer than six nothing is said, whatever the interval.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata, wilcoxon

from tune_sa2va.evaluate.bootstrap import Interval, group_sums, mean_interval, resampled_range, text_weights

MIN_GROUPS = 6
"""Of the locked part, for any word but `TOO_FEW`: 2 / 2^6 = 0.031 is the least p of six groups, 0.063 of five."""

LEVEL = 0.05
_LARGEST_EXACT = 50
"""Groups; with more the normal approximation is as good."""


class Word(StrEnum):
    """What a comparison comes to."""

    BETTER = "better"
    WORSE = "worse"
    TIE = "tie"
    TOO_FEW = "too few patients to say"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One model beside another by one measure, on the same images."""

    difference: Interval
    """One minus the other, mean over images."""
    p_value: float
    """Of the signed-rank test over groups; 1 where all differences are 0, NaN without a pair."""
    word: Word

    @property
    def is_disputed(self) -> bool:
        """Interval and test say different things, so that it is a tie."""
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
    """What `a` is beside `b`: values of the same images, whose groups are given. A pair with a NaN is left out.

    texts: what each image was asked for; each text weighs the same. None: all for one thing.

    Raises:
        ValueError: not as many values of the one as of the other, or as groups.
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
    """The word of each draw of differences on the same N images (higher is better), all at once: for simulations."""
    sums, sizes = group_sums(differences, groups)
    lows, highs = resampled_range(sums, sizes, confidence=1.0 - LEVEL, resamples=resamples, seed=0)
    p_values = map(signed_rank, sums / sizes)
    return [_word(*found, len(sizes), higher_is_better=True) for found in zip(lows, highs, p_values, strict=True)]


def signed_rank(differences: Float[np.ndarray, " G"]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test, zeros left out; exact up to 50 differences, ties or not.

    Not scipy's for those: with ties or zeros it goes through all signs in Python, 4 s for 13 differences.
    """
    kept = differences[differences != 0.0]
    if not len(differences):
        return float("nan")
    if not len(kept):
        return 1.0
    if len(kept) > _LARGEST_EXACT:
        return float(wilcoxon(kept, method="asymptotic").pvalue)
    doubled = np.rint(2 * rankdata(np.abs(kept))).astype(int)  # whole numbers, as tied ranks are halves
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0  # of each sum of the ranks above 0, where each sign is thrown by a coin
    for rank in doubled:
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    above = doubled[kept > 0].sum()
    return float(min(1.0, 2 * min(chance[: above + 1].sum(), chance[above:].sum())))


def sentence(comparisons: Mapping[str, Comparison], *, subject: str = "the winner", by: str = "Dice") -> str:
    """All comparisons of one subject in words. comparisons: what it is beside ("the recipe") -> the outcome."""
    forms = {Word.BETTER: "is better than", Word.WORSE: "is worse than", Word.TIE: "ties with"}
    told = {other: c for other, c in comparisons.items() if c.word is not Word.TOO_FEW}
    untold = {other: c for other, c in comparisons.items() if c.word is Word.TOO_FEW}
    said = []
    if told:
        outcomes = " and ".join(f"{forms[c.word]} {other}" for other, c in told.items())
        groups = max(c.difference.num_groups for c in told.values())
        who = f"{subject[0].upper()}{subject[1:]}"
        said.append(f"{who} {outcomes} by {by} (paired, {groups} patients or other groups).")
    if untold:
        groups = min(c.difference.num_groups for c in untold.values())
        said.append(
            f"{Word.TOO_FEW.capitalize()} whether {subject} is better than {' or '.join(untold)}: {groups}, and it "
            f"takes {MIN_GROUPS}."
        )
    return " ".join(said)


def _word(low: float, high: float, p_value: float, num_groups: int, *, higher_is_better: bool) -> Word:
    if num_groups < MIN_GROUPS:
        return Word.TOO_FEW
    if not p_value < LEVEL or low <= 0.0 <= high:
        return Word.TIE
    return Word.BETTER if (low > 0.0) == higher_is_better else Word.WORSE
