"""One trial: its images, order, rates and checks. `epoch` computes its steps, alone or with those of other trials.

Independent of Ray, and of the trials that sit beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.metrics import Counts, mean_scores
from tune_sa2va.evaluate.predict import to_counts
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.train.checkpoint import Finish, load_checkpoint
from tune_sa2va.train.checkpoint_state import Progress
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.epoch import Clock, Trained, run_epoch
from tune_sa2va.train.feed import ExampleSource, ScoredImages, TrainingImages, TrainingSource, Turn
from tune_sa2va.train.liveness import STEPS_TO_PROVE, Liveness, frozen_validation
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.schedule import learning_rate
from tune_sa2va.train.step import LOSS_PARTS

_BETWEEN_FOLDS = 2**50
"""Distance between the seeds of two folds. The seeds of one fold's epochs span less than this."""


class Trial:
    """One configuration trained on one split. Every worker of a lane holds the same trial and computes its share."""

    def __init__(
        self,
        engine: Engine,
        train: TrainingImages,
        val: ScoredImages,
        config: TrialConfig,
        *,
        resume_from: Path | None = None,
        rank: int = 0,
        world_size: int = 1,
        fold: int = 0,
        adapters: TrialAdapters | None = None,
    ) -> None:
        """Takes a seat at the engine with new adapters, or those of the checkpoint in `resume_from`.

        rank, world_size: this worker's number in its lane, from 0, and the number of workers.
        fold: number of the fold, from 0; each draws its own random numbers.
        adapters: attached adapters of another trial of the same configuration, to be trained from their current values;
            None attaches new ones.

        Raises:
            UserError: the configuration does not fit the model, or the checkpoint cannot be used.
        """
        self.config, self.engine = config, engine
        self.rank, self.world_size, self._fold = rank, world_size, fold
        self.val_counts: list[Counts] = []
        """Pixel counts of each validation image after the last epoch, in the order of the images."""
        self._train: TrainingSource = train
        self.val: ExampleSource = val
        self._texts = val.texts
        self.scored = val
        """The validation images as they were given; trials with the same ones are scored together."""
        if config.runs_sam2 or config.runs_vision:
            towers = {"sam2": config.runs_sam2, "vision": config.runs_vision}
            self._train = train.with_pixels(**towers, strength=config.data.strength)
            self.val = val.with_pixels(**towers, strength=0.0)
        self.adapters = adapters or engine.sit(config)
        self.seat, self.stepper = self.adapters.seat, engine.stepper(config)
        self._parameters = self.adapters.parameters
        self._progress = Progress(epoch=0, step=0, val_dice=None)
        self._liveness: Liveness | None = None
        optimizer = self.stepper.optimizer
        try:
            self.stepper.reset(
                config.loss, config.optimizer, config.encoder.lr_factor, config.train.ema, seat=self.seat
            )
            if resume_from is not None:
                self._progress = load_checkpoint(resume_from, config, self._parameters, optimizer, seat=self.seat)
                self.stepper.store.refresh()
                optimizer.swap_average(self.seat)
            if self._progress.step == 0:
                self._liveness = Liveness(self._parameters)
        except BaseException:
            self.close()
            raise

    def epochs(self) -> Iterator[EpochRecord]:
        """Trains and validates by itself from the next epoch to the last. Yields one record per epoch.

        Raises:
            TrialFailure: a loss or gradient is not finite, or the weights do not change.
            torch.OutOfMemoryError: the device has too little memory.
        """
        while self._progress.epoch < self.config.train.epochs:
            (outcome,) = run_epoch([self])
            if isinstance(outcome, TrialFailure):
                raise outcome
            yield outcome

    def prepared(self) -> "Trial":
        """The training whose epoch is next: this one. A trial with folds has one for each."""
        return self

    def settled(self, record: EpochRecord) -> EpochRecord:
        """The record of the trial's epoch, which with one split is that of its training."""
        return record

    def begin_save(self, folder: Path) -> Finish:
        """Begins to write the checkpoint after the last finished epoch, from a copy: the next one may begin."""
        with self._averaged():
            return self.engine.writer.begin(
                folder, self.config, self._parameters, self.stepper.optimizer, self._progress, seat=self.seat
            )

    def save(self, folder: Path) -> None:
        """Writes the checkpoint after the last finished epoch.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        self.begin_save(folder)()

    @property
    def progress(self) -> Progress:
        """Epochs and steps done so far."""
        return self._progress

    @property
    def num_graphs(self) -> int:
        """CUDA graphs captured so far; 0 on a CPU."""
        return self.stepper.num_graphs

    def close(self) -> None:
        """Leaves the seat. After the last trial the base model is as it was. May be called more than once."""
        if self.adapters.is_attached:
            self.stepper.leave(self.seat)
            self.adapters.detach()

    # -- what an epoch asks for -------------------------------------------------------------------------------------

    def begin_epoch(self) -> Turn:
        """Sets this epoch's random numbers and sums back. Returns its images in their order."""
        train, epoch, stepper = self.config.train, self._progress.epoch + 1, self.stepper
        # Random numbers depend only on the trial's seed, epoch, fold and rank, so checkpoints need no generator state.
        seed = train.seed * 100_003 + epoch + self._fold * _BETWEEN_FOLDS
        stepper.store.seed(self.seat, seed * 1_009 + self.rank)
        order = torch.randperm(len(self._train), generator=torch.Generator().manual_seed(seed))
        chunks = order.split(train.micro_batch_size * train.accumulation_steps * self.world_size)
        for sums in (stepper.losses, stepper.optimizer.norm_sum):
            stepper.store.of(sums, self.seat).zero_()
        shown = self._train.in_epoch(epoch, seed=train.seed, augment=self.config.data.augment)
        return Turn(shown, [chunk[self.rank :: self.world_size].tolist() for chunk in chunks], list(map(len, chunks)))

    def rates(self, num_steps: int) -> list[float]:
        """The learning rates of the current epoch's steps, so many in each epoch."""
        total, first = num_steps * self.config.train.epochs, self._progress.step
        return [learning_rate(first + number, total, self.config.optimizer) for number in range(num_steps)]

    def before_update(self, number: int) -> None:
        """Called before the weights change in step `number`, from 0, of the epoch, with the step's gradients there."""
        step = self._progress.step + number
        if self._liveness is not None and step < STEPS_TO_PROVE:
            store = self.stepper.store
            gradients = store.of(self.stepper.optimizer.gradients, self.seat)[:-1]
            self._liveness.before_step(step, store.views(gradients, self.config.lora.r, self.config.encoder.r))

    def after_update(self, number: int) -> None:
        """Called when the weights have changed.

        Raises:
            DeadGradientError: some matrices get no gradient, or do not change.
        """
        if self._liveness is not None:
            self._liveness.after_step(self._progress.step + number)

    def weight_sum(self) -> float:
        """The sum of the trained values' sizes, which tells whether they changed."""
        store = self.stepper.store
        return float(store.of(store.values, self.seat).abs().sum(dtype=torch.float64))

    def end_epoch(self, trained: Trained, counts: list[Counts], clock: Clock, *, moved: bool) -> EpochRecord:
        """Counts the epoch as done. Returns its record.

        counts: of the validation images. moved: whether the weights changed.

        Raises:
            DeadGradientError: Val Dice is the same as before, and the weights did not change.
        """
        losses, train_counts = self._reduced(trained)
        self.val_counts = counts
        scores = mean_scores(counts, self._texts)
        before = self._progress
        warning = frozen_validation(before.val_dice, scores.dice, moved=moved)
        self._progress = Progress(epoch=before.epoch + 1, step=before.step + trained.num_steps, val_dice=scores.dice)
        return EpochRecord(
            epoch=self._progress.epoch,
            **dict(zip(("train_loss", *(f"train_loss_{part}" for part in LOSS_PARTS[1:])), losses, strict=True)),  # type: ignore[arg-type]
            lr=trained.lr,
            grad_norm=trained.grad_norm,
            train_dice=mean_scores(to_counts(train_counts)).dice,
            val_dice=scores.dice,
            val_iou=scores.iou,
            val_recall=scores.recall,
            val_precision=scores.precision,
            it_per_s=len(trained.counts) / clock.train_s,
            seconds=clock.train_s + clock.val_s,
            train_seconds=clock.train_s,
            val_seconds=clock.val_s,
            peak_gib=clock.peak_gib,
            micro_batch_size=self.config.train.micro_batch_size,
            seated=clock.seated,
            warning=warning,
        )

    def _reduced(self, trained: Trained) -> tuple[list[float], Tensor]:
        """Mean losses over the images of all workers, and the pixel counts of every image."""
        losses, counts = trained.losses.clone(), trained.counts
        if self.world_size > 1:
            dist.all_reduce(losses)
            rows = counts.new_zeros(self.world_size, len(self._train), 4)
            rows[self.rank, : len(counts)] = counts
            dist.all_reduce(rows)
            counts = rows.flatten(0, 1)
            counts = counts[counts.sum(dim=1) > 0]
        return (losses / len(self._train)).tolist(), counts

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the running average takes the weights' place, if the trial keeps one."""
        self.stepper.optimizer.swap_average(self.seat)
        try:
            yield
        finally:
            self.stepper.optimizer.swap_average(self.seat)
