"""One configuration trained K times, once a fold: each image is scored by the adapter that never saw its patient.

The K trainings share the base model, the adapters' store, its graphs and the features. A training lives in a few flat
tensors (`Stepper.state`); between folds they are copied out of the store and the next fold's are copied in, on the
device. What is one fold's is in `_Fold`, so that several folds can later be computed in one step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.evaluate.examples import Examples, SomeExamples
from tune_sa2va.evaluate.metrics import Counts, Scores, mean_scores
from tune_sa2va.train.checkpoint import fold_folder, read_folds, write_folds
from tune_sa2va.train.checkpoint_state import Progress
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one training is given. places: of its `val` images among all that its trial scores, in order."""

    train: Examples | SomeExamples
    val: Examples | SomeExamples
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Fold:
    """One training: its trial, its epochs, and its state while another fold is in the store."""

    trial: Trial
    epochs: Iterator[EpochRecord]
    state: tuple[Tensor, ...]


class FoldedTrial:
    """One configuration on one base model, K adapters. Every worker of a lane holds the same and takes its share."""

    def __init__(
        self,
        engine: Engine,
        parts: Sequence[Part],
        config: TrialConfig,
        *,
        resume_from: Path | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Attach fresh adapters, or those of the checkpoint in `resume_from`.

        Raises:
            UserError: the configuration does not fit the model, or the checkpoint cannot be used.
        """
        self.config = config
        self.val_counts: list[Counts | None] = [None] * sum(len(part.places) for part in parts)
        """Pixel counts of each scored image in the epoch under way or just done; None while its fold is to come."""
        self._engine, self._parts = engine, tuple(parts)
        self._rank, self._world_size = rank, world_size
        self._stepper = engine.stepper(config)
        self._folds: list[_Fold] = []
        self._records: list[EpochRecord] = []
        """Of the folds that have done the epoch under way."""
        self._progress = Progress(epoch=0, step=0, val_dice=None)
        if resume_from is not None:
            self._progress = read_folds(resume_from, config, folds=len(parts))
        try:
            self._begin(0, resume_from)
            self._fresh = _copied(self._stepper.state) if resume_from is None else ()
            for number in range(1, len(parts) if resume_from is not None else 1):
                self._begin(number, resume_from)
        except BaseException:
            self.close()
            raise

    def epochs(self) -> Iterator[EpochRecord | None]:
        """Train and validate, fold by fold: None after each fold but an epoch's last, then the epoch's record.

        Raises:
            TrialFailure: in some fold a loss or gradient is not finite, or training does not train.
        """
        while self._progress.epoch < self.config.train.epochs:
            self._records.clear()
            self.val_counts = [None] * len(self.val_counts)
            for number in range(len(self._parts)):
                self._run(number)
                yield self.record() if number + 1 == len(self._parts) else None

    def record(self) -> EpochRecord:
        """The record of the epoch under way by the folds that are done; where some are not, the trial ends with it."""
        asked = dict(pair for part in self._parts for pair in zip(part.places, part.val.texts, strict=True))
        known = [(counts, asked[place]) for place, counts in enumerate(self.val_counts) if counts is not None]
        record = _summed_up(
            self._records,
            [len(part.train) for part in self._parts],
            mean_scores([counts for counts, _ in known], [text for _, text in known]),
            folds=len(self._parts),
        )
        steps = sum(fold.trial.progress.step for fold in self._folds)
        self._progress = Progress(epoch=record.epoch, step=steps, val_dice=record.val_dice)
        return record

    def save(self, folder: Path) -> None:
        """Write the checkpoint after the last epoch; of one that ended early, the folds that were done."""
        done = len(self._records)
        for number in range(done):
            self._enter(number)
            self._folds[number].trial.save(fold_folder(folder, number))
        write_folds(folder, self.config, self._progress, folds=done, of=len(self._parts))

    @property
    def num_graphs(self) -> int:
        """CUDA graphs of the steps so far; 0 on a CPU."""
        return self._stepper.num_graphs

    def close(self) -> None:
        """Give the base model back as it was."""
        if self._folds:
            self._folds[0].trial.close()

    def _run(self, number: int) -> None:
        """The epoch under way in one fold. A new trial begins its folds as it comes to them: each of them holds copies
        of its first weights until it is known that they move."""
        if number == len(self._folds):
            _copy(self._fresh, self._stepper.state)
            self._begin(number, None)
        else:
            self._enter(number)
        fold = self._folds[number]
        self._records.append(next(fold.epochs))
        _copy(self._stepper.state, fold.state)
        for place, counts in zip(self._parts[number].places, fold.trial.val_counts, strict=True):
            self.val_counts[place] = counts
        if len(self._folds) == len(self._parts):
            self._fresh = ()

    def _begin(self, number: int, resume_from: Path | None) -> None:
        """A fold's training, from the values in the store or from its checkpoint."""
        trial = Trial(
            self._engine, self._parts[number].train, self._parts[number].val, self.config,
            resume_from=None if resume_from is None else fold_folder(resume_from, number),
            rank=self._rank, world_size=self._world_size, fold=number,
            adapters=self._folds[0].trial.adapters if self._folds else None,
        )  # fmt: skip
        self._stepper.store.refresh()
        self._folds.append(_Fold(trial, trial.epochs(), _copied(self._stepper.state)))

    def _enter(self, number: int) -> None:
        """Put a fold's training into the store."""
        _copy(self._folds[number].state, self._stepper.state)
        self._stepper.store.refresh()


def _copied(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def _copy(source: Sequence[Tensor], to: Sequence[Tensor]) -> None:
    for mine, theirs in zip(source, to, strict=True):
        theirs.copy_(mine)


def _summed_up(records: Sequence[EpochRecord], images: Sequence[int], scores: Scores, *, folds: int) -> EpochRecord:
    """One record of the folds' own. scores: over all their validation images; training means go by their images."""
    plain = [asdict(record) for record in records]

    def total(name: str) -> float:
        return math.fsum(fold[name] for fold in plain)

    weights = images[: len(plain)]
    of_training = [name for name in plain[0] if name.startswith("train_loss")]
    means = {
        name: math.fsum(weight * fold[name] for weight, fold in zip(weights, plain, strict=True)) / sum(weights)
        for name in (*of_training, "train_dice", "lr", "grad_norm")
    }
    warnings = [f"fold {number}: {fold['warning']}" for number, fold in enumerate(plain) if fold["warning"]]
    return EpochRecord(
        epoch=records[0].epoch,
        **means,
        val_dice=scores.dice,
        val_iou=scores.iou,
        val_recall=scores.recall,
        val_precision=scores.precision,
        it_per_s=math.fsum(fold["it_per_s"] * fold["train_seconds"] for fold in plain) / total("train_seconds"),
        seconds=total("seconds"),
        train_seconds=total("train_seconds"),
        val_seconds=total("val_seconds"),
        peak_gib=max(record.peak_gib for record in records),
        micro_batch_size=records[0].micro_batch_size,
        folds=len(records),
        folds_left=folds - len(records),
        warning="; ".join(warnings),
    )
