"""One configuration trained K times, once per fold: each image is scored by the adapter that never saw its patient.

The K trainings share the base model, the adapter store, its graphs and the features. The state of a training is a few
flat tensors (`Stepper.state`). Between folds they are copied out of the store and the next fold's are copied in, on
the device.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.examples import Examples, SomeExamples
from tune_sa2va.evaluate.metrics import Counts, Scores, mean_scores
from tune_sa2va.train.checkpoint import Finish, fold_folder, read_folds, write_folds
from tune_sa2va.train.checkpoint_state import Progress
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The images of one training. places: positions of its `val` images among all images that the trial scores."""

    train: Examples | SomeExamples
    val: Examples | SomeExamples
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Fold:
    """One training: its trial, and a copy of its state for when another fold is in the store."""

    trial: Trial
    state: tuple[Tensor, ...]


class FoldedTrial:
    """One configuration trained on K folds. Every worker of a lane holds the same trial and computes its share."""

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
        """Attaches new adapters, or those of the checkpoint in `resume_from`.

        parts: the images of each fold's training.
        rank, world_size: this worker's number in its lane, from 0, and the number of workers.

        Raises:
            UserError: the configuration does not fit the model, or the checkpoint cannot be used.
        """
        self.config = config
        self.val_counts: list[Counts | None] = [None] * sum(len(part.places) for part in parts)
        """Pixel counts of each scored image in the current or last epoch; None until its fold is done."""
        self._engine, self._parts = engine, tuple(parts)
        self._rank, self._world_size = rank, world_size
        self._folds: list[_Fold] = []
        self._records: list[EpochRecord] = []
        """Records of the folds done in the current epoch."""
        self._progress = Progress(epoch=0, step=0, val_dice=None)
        if resume_from is not None:
            self._progress = read_folds(resume_from, config, folds=len(parts))
        try:
            self._begin(0, resume_from)
            self._fresh = _copied(self._state) if resume_from is None else ()
            for number in range(1, len(parts) if resume_from is not None else 1):
                self._begin(number, resume_from)
        except BaseException:
            self.close()
            raise

    def epochs(self) -> Iterator[EpochRecord | None]:
        """Trains and validates fold by fold. Yields None after each fold but an epoch's last, then the epoch's record.

        Raises:
            TrialFailure: in some fold a loss or gradient is not finite, or the weights do not change.
        """
        while self._progress.epoch < self.config.train.epochs:
            (outcome,) = run_epoch([self.prepared()])
            if isinstance(outcome, TrialFailure):
                raise outcome
            yield self.settled(outcome)

    def prepared(self) -> Trial:
        """The fold whose epoch is next, with its state in the store.

        A new trial begins each fold only when its turn comes: a fold keeps copies of its initial weights until it is
        known that training changes them.
        """
        if len(self._records) == len(self._parts):
            self._records.clear()
            self.val_counts = [None] * len(self.val_counts)
        number = len(self._records)
        if number == len(self._folds):
            _copy(self._fresh, self._state)
            self._begin(number, None)
        else:
            self._enter(number)
        return self._folds[number].trial

    def settled(self, record: EpochRecord) -> EpochRecord | None:
        """Takes the epoch of the fold that was `prepared`. Returns the epoch's record if it was its last fold."""
        number = len(self._records)
        fold = self._folds[number]
        self._records.append(record)
        _copy(self._state, fold.state)
        for place, counts in zip(self._parts[number].places, fold.trial.val_counts, strict=True):
            self.val_counts[place] = counts
        if len(self._folds) == len(self._parts):
            self._fresh = ()
        return self.record() if number + 1 == len(self._parts) else None

    def record(self) -> EpochRecord:
        """The record of the current epoch over the folds done so far. If folds are left, the trial must end with it."""
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

    def begin_save(self, folder: Path) -> Finish:
        """Begins to write the checkpoint after the last epoch; if that ended early, only of the folds that were done.

        They are written from copies: the next epoch may begin.
        """
        done, progress = len(self._records), self._progress
        finish_folds = []
        for number in range(done):
            self._enter(number)
            finish_folds.append(self._folds[number].trial.begin_save(fold_folder(folder, number)))

        def finish() -> None:
            with ExitStack() as folds:  # waits for each of them, also if one fails
                for finish_fold in finish_folds:
                    folds.callback(finish_fold)
            write_folds(folder, self.config, progress, folds=done, of=len(self._parts))

        return finish

    def save(self, folder: Path) -> None:
        """Writes the checkpoint after the last epoch, as `begin_save` says.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        self.begin_save(folder)()

    def close(self) -> None:
        """Detaches the adapters, which leaves the base model as it was."""
        if self._folds:
            self._folds[0].trial.close()

    @property
    def _state(self) -> tuple[Tensor, ...]:
        """The tensors of this trial's seat, which hold the state of one fold at a time."""
        trial = self._folds[0].trial
        return trial.stepper.state(trial.seat)

    def _begin(self, number: int, resume_from: Path | None) -> None:
        """Begins a fold's training, from the values in the store or from its checkpoint."""
        trial = Trial(
            self._engine, self._parts[number].train, self._parts[number].val, self.config,
            resume_from=None if resume_from is None else fold_folder(resume_from, number),
            rank=self._rank, world_size=self._world_size, fold=number,
            adapters=self._folds[0].trial.adapters if self._folds else None,
        )  # fmt: skip
        trial.stepper.store.refresh()
        self._folds.append(_Fold(trial, _copied(trial.stepper.state(trial.seat))))

    def _enter(self, number: int) -> None:
        """Copies a fold's state into the store."""
        _copy(self._folds[number].state, self._state)
        self._folds[number].trial.stepper.store.refresh()


def _copied(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def _copy(source: Sequence[Tensor], to: Sequence[Tensor]) -> None:
    for mine, theirs in zip(source, to, strict=True):
        theirs.copy_(mine)


def _summed_up(records: Sequence[EpochRecord], images: Sequence[int], scores: Scores, *, folds: int) -> EpochRecord:
    """Combines the records of the folds into one. Training means are weighted by the folds' numbers of images.

    images: training images of every fold. scores: over the validation images of all records. folds: of the trial.
    """
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
        seated=total("seconds") / math.fsum(fold["seconds"] / fold["seated"] for fold in plain),
        folds=len(records),
        folds_left=folds - len(records),
        warning="; ".join(warnings),
    )
