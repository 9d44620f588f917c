"""Simulates one search on recorded runs.

Groups are split into a searched and a locked part by the search's own function. A configuration's scores on searched
images serve as its validation scores, and those on locked images as the test scores of its exported adapter: each image
was predicted by the recorded adapter that did not see it. That adapter was trained on four fifths of all images, locked
ones included. So the sizes of training parts, and how similar searched and locked images are, are approximations. But
the images by which a choice is made and those on which it is judged are separate, as in a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush

import numpy as np
from jaxtyping import Float, Int
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tune_sa2va.bench.replay.parts import Part, drawn_parts, split_parts
from tune_sa2va.bench.replay.proposals import proposals
from tune_sa2va.bench.replay.recorded import Recorded
from tune_sa2va.bench.replay.rule import Rule
from tune_sa2va.evaluate.bootstrap import group_sums
from tune_sa2va.schedule.asha import AshaSparingTheRecipe
from tune_sa2va.schedule.hopeless_folds import is_hopeless
from tune_sa2va.score.beats_recipe import beats_recipe

LANES = 4
RECIPE = 0
"""The number of the recipe's configuration, which is the first trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of a search.

    gain: Dice of the exported adapter minus that of the recipe after its last epoch, on the locked part. true_gain: the
    same on all recorded images, which are the population if parts are drawn. regret: how much better the best of all
    recorded configurations is on the locked part. epochs: trained, over all adapters. stood: whether the best was not
    exported because it did not beat the recipe. is_recipe: whether the recipe was exported.
    """

    gain: float
    true_gain: float
    regret: float
    epochs: int
    stood: bool
    is_recipe: bool


@dataclass(slots=True)
class _Running:
    """A running trial. epoch, fold: what is being trained."""

    configuration: int
    tune: Trial
    epoch: int = 1
    fold: int = 0
    score: float = 0.0
    """What the sampler will be told: the best score so far or the last one, by the rule."""


@dataclass
class Play:
    """A search by `rule`. seed: decides the split, the proposals, and which recorded seed its trials have."""

    recorded: Recorded
    rule: Rule
    seed: int
    epochs: int = 0
    finished: dict[int, int] = field(default_factory=dict)
    """Configuration -> number of its complete epochs."""

    def run(self) -> Outcome:
        """Simulates the search to its end."""
        self._search()
        configuration, chosen, stood = self._choose()
        locked = self._locked
        exported = np.mean([self.recorded.dice[configuration, s, e - 1, locked].mean() for s, e in chosen])
        seeds = [s for s, _ in chosen]
        last = self.recorded.dice[:, seeds, -1][..., locked].mean(axis=(1, 2))
        everywhere = self.recorded.dice[:, seeds].mean(axis=(1, 3))
        true = np.mean([self.recorded.dice[configuration, s, e - 1].mean() for s, e in chosen])
        return Outcome(
            gain=float(exported - last[RECIPE]),
            true_gain=float(true - everywhere[RECIPE, -1]),
            regret=float(last.max() - exported),
            epochs=self.epochs,
            stood=stood,
            is_recipe=configuration == RECIPE,
        )

    @cached_property
    def _parts(self) -> dict[str, Part]:
        parts = split_parts if self.rule.parts == "split" else drawn_parts
        return parts(self.recorded.group, self.rule.locked_share, seed=self.seed)

    @cached_property
    def _locked(self) -> Int[np.ndarray, " L"]:
        return self._parts["test"].images

    @cached_property
    def _searched(self) -> Part:
        """All images that are not locked, fold by fold."""
        train, val = self._parts["train"], self._parts["val"]
        images = np.concatenate([train.images, val.images])
        order = np.argsort(self.recorded.fold[images], kind="stable")
        return Part(images[order], np.concatenate([train.groups, val.groups])[order])

    @cached_property
    def _scoring(self) -> Part:
        """The images that score a trial."""
        return self._searched if self.rule.folds else self._parts["val"]

    @property
    def _images(self) -> Int[np.ndarray, " N"]:
        return self._scoring.images

    @cached_property
    def _folds(self) -> tuple[int, ...]:
        """How many of `_images` are predicted after the first fold, after the second, ..."""
        if not self.rule.folds:
            return (len(self._images),)
        return tuple(int(n) for n in np.cumsum(np.bincount(self.recorded.fold[self._images])))

    @cached_property
    def _groups(self) -> list[int]:
        return [int(group) for group in self._scoring.groups]

    def _of(self, images: Int[np.ndarray, " N"]) -> Float[np.ndarray, "S C E N"]:
        """Scores of every configuration on these images, the search's own seed first."""
        seeds = [(self.seed + more) % self.recorded.num_seeds for more in range(self.recorded.num_seeds)]
        return self.recorded.dice[:, seeds][..., images].swapaxes(0, 1)

    @cached_property
    def _scores(self) -> Float[np.ndarray, "S C E N"]:
        return self._of(self._images)

    @cached_property
    def _means(self) -> Float[np.ndarray, "S C E"]:
        means: np.ndarray = self._scores.mean(axis=-1)
        return means

    def _search(self) -> None:
        """Runs trials in lanes. The next event is the fold, or the epoch, that ends first."""
        rule = self.rule
        self._asha = AshaSparingTheRecipe(
            {"configuration": RECIPE},
            time_attr="epoch", metric="val_dice", mode="max", max_t=self.recorded.num_epochs,
            grace_period=rule.grace_period or self.recorded.num_epochs, reduction_factor=rule.reduction_factor,
        )  # fmt: skip
        self._at_rung: dict[int, list[int]] = {}
        proposed = proposals(self.recorded, rule.sampler, seed=self.seed)
        step = 1 if rule.hopeless is not None else len(self._folds)
        events: list[tuple[int, int, _Running]] = []
        begun = 0

        def begin(at: int) -> None:
            nonlocal begun
            if begun == rule.trials or (configuration := proposed.next()) is None:
                return
            tune = Trial("replayed", config={"configuration": configuration}, stub=True)
            self._asha.on_trial_add(None, tune)
            heappush(events, (at + step, begun, _Running(configuration, tune)))
            begun += 1

        for _ in range(LANES):
            begin(0)
        while events:
            now, number, running = heappop(events)
            self.epochs += step
            running.fold += step
            if self._goes_on(running):
                heappush(events, (now + step, number, running))
            else:
                is_whole = running.epoch == self.recorded.num_epochs
                proposed.tell(running.configuration, running.score, epochs=running.epoch, stopped=not is_whole)
                begin(now)

    def _goes_on(self, running: _Running) -> bool:
        """Whether a trial goes on, after a fold or after a complete epoch."""
        configuration, epoch = running.configuration, running.epoch
        is_whole = running.fold == len(self._folds)
        if not is_whole:
            return not self._is_hopeless(running)
        score = float(self._means[0, configuration, epoch - 1])
        running.score = max(running.score, score) if self.rule.epoch == "best" else score
        self.finished[configuration] = epoch
        result = {"epoch": epoch, "val_dice": score}
        answer = self._asha.on_trial_result(None, running.tune, result)
        if answer == TrialScheduler.STOP and self.rule.noise is not None and epoch < self.recorded.num_epochs:
            is_stopped = self._is_behind(configuration, epoch)
        else:
            is_stopped = answer == TrialScheduler.STOP
        self._at_rung.setdefault(epoch, []).append(configuration)
        if is_stopped or epoch == self.recorded.num_epochs:
            self._asha.on_trial_complete(None, running.tune, result)
            return False
        running.epoch, running.fold = epoch + 1, 0
        return True

    def _is_hopeless(self, running: _Running) -> bool:
        rule, epoch = self.rule, running.epoch
        rivals = self._at_rung.get(epoch, [])
        if rule.hopeless is None or running.configuration == RECIPE or epoch < rule.hopeless_from or not rivals:
            return False
        done = self._folds[running.fold - 1]
        best = max(rivals, key=lambda rival: self._means[0, rival, epoch - 1])
        mine, theirs = (self._scores[0, each, epoch - 1, :done] for each in (running.configuration, best))
        running.score = max(running.score, float(mine.mean()))
        return is_hopeless(mine, theirs, self._groups[:done], level=rule.hopeless)

    def _is_behind(self, configuration: int, epoch: int) -> bool:
        """Whether a trial below ASHA's cutoff trails the worst trial above it by more than the noise."""
        means = self._means[0, :, epoch - 1]
        rivals = sorted(self._at_rung.get(epoch, []), key=lambda rival: -means[rival])
        kept = rivals[: max(1, len(rivals) // self.rule.reduction_factor)]
        if not kept:
            return False
        differences = self._scores[0, kept[-1], epoch - 1] - self._scores[0, configuration, epoch - 1]
        assert self.rule.noise is not None
        return float(differences.mean()) > self.rule.noise * standard_error(differences, self._groups)

    def _choose(self) -> tuple[int, list[tuple[int, int]], bool]:
        """The exported configuration, (recorded seed, epoch) of its runs that count, and whether the recipe stood."""
        rule, whole = self.rule, self.recorded.num_epochs
        scores, part = self._scores, self._scoring
        ran = {c: n for c, n in self.finished.items() if rule.epoch != "whole" or n == whole}
        runs = {c: [(0, self._epoch_of(scores[0, c], n))] for c, n in ran.items()}
        if rule.confirm:
            ranked = sorted(runs, key=lambda c: -scores[0, c, runs[c][0][1] - 1].mean())
            finalists = list(dict.fromkeys([*ranked[: rule.confirm], RECIPE]))
            if rule.confirm_on_folds:
                part = self._searched
                scores, runs = self._of(part.images), {c: [] for c in finalists}
            folds = self.recorded.num_folds if rule.confirm_on_folds or rule.folds else 1
            self.epochs += len(finalists) * whole * folds
            runs = {c: [*runs[c], (1, self._epoch_of(scores[1, c], whole))] for c in finalists}
        of = {c: np.mean([scores[s, c, e - 1] for s, e in found], axis=0) for c, found in runs.items()}
        best = max(of, key=lambda c: float(of[c].mean()))
        stood = best != RECIPE and rule.level is not None and not beats_recipe(
            of[best], of[RECIPE], part.groups.tolist(), level=rule.level, test=rule.test
        )  # fmt: skip
        chosen = RECIPE if stood else best
        return chosen, [((self.seed + s) % self.recorded.num_seeds, e) for s, e in runs[chosen]], stood

    def _epoch_of(self, scores: Float[np.ndarray, "E N"], ran: int) -> int:
        """The epoch whose adapter counts for a run."""
        return int(scores[:ran].mean(axis=-1).argmax()) + 1 if self.rule.epoch == "best" else ran


def standard_error(differences: Float[np.ndarray, " N"], groups: Sequence[int]) -> float:
    """Standard error of the mean over images, with groups as units (ratio estimator, Cochran 1977, chapter 6)."""
    sums, sizes = group_sums(differences, groups)
    residuals = sums - sizes * (sums.sum() / sizes.sum())
    number = len(sizes)
    return float(np.sqrt(number / (number - 1) * (residuals**2).sum()) / sizes.sum())
