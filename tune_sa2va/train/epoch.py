"""One epoch of all trials that sit at an engine: their optimizer steps together, then the scores of each.

What differs between the trials is a number on the device or an image in the batch. A trial that cannot go on fails by
itself: its seat computes along until the epoch ends, without effect, and the others are not affected.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.evaluate.predict import to_counts
from tune_sa2va.train.feed import Turn
from tune_sa2va.train.liveness import STEPS_TO_PROVE
from tune_sa2va.train.records import EpochRecord

if TYPE_CHECKING:
    from tune_sa2va.train.trial import Trial

_STEPS_BETWEEN_CHECKS = 50
"""Optimizer steps between two checks that all were finite. A check waits for the device, so not every step has one."""


class Trained(NamedTuple):
    """What a trial's steps of one epoch came to.

    losses: sums over this worker's images, in the order of LOSS_PARTS. counts: pixels of each of its images.
    grad_norm: mean over the steps. lr: of the last step.
    """

    losses: Float[Tensor, "7"]
    counts: Int[Tensor, "N 4"]
    grad_norm: float
    lr: float
    num_steps: int


class Clock(NamedTuple):
    """Seconds of an epoch, which its trials share, its peak memory, and the number of its trials."""

    train_s: float
    val_s: float
    peak_gib: float
    seated: int


def run_epoch(trials: Sequence["Trial"]) -> list[EpochRecord | TrialFailure]:
    """The next epoch of each trial. They must sit at one engine and have an epoch left.

    Returns, in their order, the record of each or why it cannot go on. Such a trial's weights are those before the
    fault.

    Raises:
        torch.OutOfMemoryError: the device has too little memory. No trial can go on.
    """
    try:
        return _Epoch(trials).run()
    except torch.OutOfMemoryError:
        trials[0].engine.forget()
        raise


class _Epoch:
    def __init__(self, trials: Sequence["Trial"]) -> None:
        self._trials = tuple(trials)
        self._engine, self._stepper = trials[0].engine, trials[0].stepper
        self._seats = self._stepper.store.seats
        self._failures: dict[int, TrialFailure] = {}
        """By seat."""
        self._feed = self._engine.feed(with_answer=any(trial.config.loss.lm > 0 for trial in trials))

    def run(self) -> list[EpochRecord | TrialFailure]:
        device, started = self._engine.device, time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        sums_before = {trial.seat: trial.weight_sum() for trial in self._trials}
        trained = self._train()
        turned = time.monotonic()
        scored = self._validate()
        ended = time.monotonic()
        peak = torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else 0.0
        clock = Clock(turned - started, ended - turned, peak, len(self._trials))
        records = {}
        for trial in self._going():
            with self._guarding(trial):
                moved = trial.weight_sum() != sums_before[trial.seat]
                records[trial.seat] = trial.end_epoch(trained[trial.seat], scored[trial.seat], clock, moved=moved)
        return [self._failures.get(trial.seat) or records[trial.seat] for trial in self._trials]

    def _going(self) -> list["Trial"]:
        return [trial for trial in self._trials if trial.seat not in self._failures]

    @contextmanager
    def _guarding(self, trial: "Trial") -> Iterator[None]:
        try:
            yield
        except TrialFailure as failure:
            self._failures[trial.seat] = failure

    def _train(self) -> dict[int, Trained]:
        """Computes the steps. Returns what they came to, by seat."""
        stepper = self._stepper
        turns: list[Turn | None] = [None] * self._seats
        for trial in self._trials:
            turns[trial.seat] = trial.begin_epoch()
        steps = {seat: len(turn.chunks) for seat, turn in enumerate(turns) if turn is not None}
        counts = _Counts(turns, self._engine.device)
        rates, on = self._rates(steps), set[int]()
        stepper.store.is_dropping = any(trial.adapters.drops for trial in self._trials)
        alike = self._trials[0].config.train  # in what the trials have in common
        for number, batches in enumerate(self._feed.steps(turns, batch_size=alike.micro_batch_size)):
            for fed in batches:
                assert fed.share is not None, "a training batch has its images' shares"
                counts.add(stepper.accumulate(fed.batch, fed.shape, share=fed.share), fed.shown)
            stepper.reduce()
            if number == 0 and alike.full_modules:
                stepper.spare_unreached()
            going = [trial for trial in self._going() if number < steps[trial.seat]]
            if on != (on := {trial.seat for trial in going}):
                stepper.turn_on(on)
            self._update(number, rates[number], going)
            if not self._going():
                break
        self._check()
        stepper.store.is_dropping = False
        norms, losses = stepper.optimizer.norm_sum.view(-1).tolist(), stepper.losses.view(self._seats, -1)
        last_rates = rates.view(len(rates), -1)
        return {
            seat: Trained(losses[seat], counts.of_seat[seat], norms[seat] / num, float(last_rates[num - 1, seat]), num)
            for seat, num in steps.items()
        }

    def _rates(self, steps: dict[int, int]) -> Float[Tensor, "N ..."]:
        """The learning rate of each step and seat, on the device."""
        rates = torch.zeros(max(steps.values()), self._seats)
        for trial in self._trials:
            rates[: steps[trial.seat], trial.seat] = torch.tensor(trial.rates(steps[trial.seat]))
        return rates.view(-1, *self._stepper.store.lead).to(self._engine.device)

    def _update(self, number: int, rates: Float[Tensor, "*K"], going: Sequence["Trial"]) -> None:
        """One optimizer step of the trials `going`, with the gradients summed over all workers."""
        for trial in going:
            trial.before_update(number)
        self._stepper.update(rates)
        is_young = any(trial.progress.step + number < STEPS_TO_PROVE for trial in going)
        if is_young or number % _STEPS_BETWEEN_CHECKS == 0:
            self._check()
        for trial in going:
            if trial.seat not in self._failures:
                with self._guarding(trial):
                    trial.after_update(number)

    def _check(self) -> None:
        found = self._stepper.failures()
        for trial in self._going():
            if trial.seat in found:
                with self._guarding(trial):
                    raise found[trial.seat]  # so that it has a traceback, as any other failure

    def _validate(self) -> dict[int, list[Counts]]:
        """The counts of each validation image, by seat."""
        going = self._going()
        if not going:
            return {}
        are_alike = len({id(trial.scored) for trial in going}) == 1
        with self._averaged():
            rows = self._count(going[0]) if are_alike else self._count_each(going)
        return {trial.seat: to_counts(rows[trial.seat]) for trial in going}

    def _count(self, trial: "Trial") -> Mapping[int, Int[Tensor, "N 4"]]:
        """Every seat's pixel counts of each of the trial's validation images; each worker predicts its share."""
        rows = torch.zeros(self._seats, len(trial.val), 4, dtype=torch.int64, device=self._engine.device)
        for fed in self._feed.whole(trial.val, _share(trial), batch_size=self._validation_batch):
            counted = self._stepper.count(fed.batch, fed.shape).unflatten(0, (self._seats, -1))
            rows[:, torch.tensor(fed.indices, device=rows.device)] = counted[:, : len(fed.indices)]
        if trial.world_size > 1:
            dist.all_reduce(rows)
        return dict(enumerate(rows))

    def _count_each(self, trials: Sequence["Trial"]) -> Mapping[int, Int[Tensor, "N 4"]]:
        """The pixel counts of each trial's own validation images, by seat; each worker predicts its share.

        Trials in different folds have different ones. Every seat shows its own, since all seats cost the same work
        whether or not anybody wants their counts.
        """
        device, size = self._engine.device, self._validation_batch
        turns: list[Turn | None] = [None] * self._seats
        rows = {}
        for trial in trials:
            share = list(_share(trial))
            share += share[-1:] * (-len(share) % size)  # full batches only, as in `Feed.whole`
            chunks = [share[first : first + size] for first in range(0, len(share), size)]
            turns[trial.seat] = Turn(trial.val, chunks, list(map(len, chunks)))
            rows[trial.seat] = torch.zeros(len(trial.val), 4, dtype=torch.int64, device=device)
        for batches in self._feed.steps(turns, batch_size=size):
            for fed in batches:
                counted = self._stepper.count_each(fed.batch, fed.shape).unflatten(0, (self._seats, -1))
                places = torch.tensor(fed.indices, device=device).view(self._seats, -1)
                for seat, own in rows.items():
                    if fed.shown[seat]:
                        own[places[seat]] = counted[seat]
        if trials[0].world_size > 1:
            for own in rows.values():
                dist.all_reduce(own)
        return rows

    @property
    def _validation_batch(self) -> int:
        """Images of a seat in a validation batch."""
        return max(1, self._engine.validation_batch // self._seats)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the running average takes the weights' place in each seat that keeps one."""
        swap: Callable[[int], None] = self._stepper.optimizer.swap_average
        seats = [trial.seat for trial in self._trials]
        for seat in seats:
            swap(seat)
        try:
            yield
        finally:
            for seat in seats:
                swap(seat)


def _share(trial: "Trial") -> range:
    """The validation images that this worker predicts."""
    return range(trial.rank, len(trial.val), trial.world_size)


class _Counts:
    """Collects the pixel counts of each seat's training images, in the order in which they are shown."""

    def __init__(self, turns: Sequence[Turn | None], device: torch.device) -> None:
        numbers = [0 if turn is None else sum(map(len, turn.chunks)) for turn in turns]
        self.of_seat = [torch.zeros(number, 4, dtype=torch.int64, device=device) for number in numbers]
        self._rows = [0] * len(turns)

    def add(self, counts: Int[Tensor, "KB 4"], shown: Sequence[bool]) -> None:
        """shown: which seats have their images in the batch."""
        of_seats = counts.unflatten(0, (len(shown), -1))
        for seat, is_shown in enumerate(shown):
            if is_shown:
                row = self._rows[seat]
                self._rows[seat] += of_seats.shape[1]
                self.of_seat[seat][row : self._rows[seat]] = of_seats[seat]
