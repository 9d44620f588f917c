"""The SFT loop of one trial: a plain generator of epoch records, independent of Ray and of other trials."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.evaluate.metrics import Counts, mean_scores
from tune_sa2va.evaluate.predict import to_counts
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.train.checkpoint import load_checkpoint
from tune_sa2va.train.checkpoint_state import Progress
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.feed import ExampleSource, ScoredImages, TrainingImages, TrainingSource
from tune_sa2va.train.liveness import STEPS_TO_PROVE, Liveness, frozen_validation
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.schedule import learning_rate
from tune_sa2va.train.step import LOSS_PARTS

_BETWEEN_FOLDS = 2**50
"""Distance between the seeds of two folds. The seeds of one fold's epochs span less than this."""

_STEPS_BETWEEN_CHECKS = 50
"""Optimizer steps between two checks that all were finite. A check waits for the device, so not every step has one."""


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
        """Attaches new adapters, or those of the checkpoint in `resume_from`.

        rank, world_size: this worker's number in its lane, from 0, and the number of workers.
        fold: number of the fold, from 0; each draws its own random numbers.
        adapters: attached adapters of another trial of the same configuration, to be trained from their current values;
            None attaches new ones.

        Raises:
            UserError: the configuration does not fit the model, or the checkpoint cannot be used.
        """
        self.config = config
        self.val_counts: list[Counts] = []
        """Pixel counts of each validation image after the last epoch, in the order of the images."""
        self._engine = engine
        self._train: TrainingSource = train
        self._val: ExampleSource = val
        self._texts = val.texts
        if config.runs_sam2 or config.runs_vision:
            towers = {"sam2": config.runs_sam2, "vision": config.runs_vision}
            self._train = train.with_pixels(**towers, strength=config.data.strength)
            self._val = val.with_pixels(**towers, strength=0.0)
        self._rank, self._world_size, self._fold = rank, world_size, fold
        self._stepper = engine.stepper(config)
        self._feed = engine.feed(with_answer=config.loss.lm > 0)
        self.adapters = adapters or TrialAdapters(
            engine.model, config.lora, config.train.full_modules, seed=config.train.seed, store=self._stepper.store,
            encoder=config.encoder,
        )  # fmt: skip
        self._parameters = self.adapters.parameters
        self._progress = Progress(epoch=0, step=0, val_dice=None)
        self._liveness: Liveness | None = None
        try:
            self._stepper.reset(config.loss, config.optimizer, config.encoder.lr_factor, config.train.ema)
            if resume_from is not None:
                self._progress = load_checkpoint(resume_from, config, self._parameters, self._stepper.optimizer)
                self._stepper.store.refresh()
                self._stepper.optimizer.swap_average()
            if self._progress.step == 0:
                self._liveness = Liveness(self._parameters)
        except BaseException:
            self.close()
            raise

    def epochs(self) -> Iterator[EpochRecord]:
        """Trains and validates from the next epoch to the last. Yields one record per epoch.

        Raises:
            TrialFailure: a loss or gradient is not finite, or the weights do not change.
            torch.OutOfMemoryError: the device has too little memory.
        """
        while self._progress.epoch < self.config.train.epochs:
            try:
                yield self._epoch(self._progress.epoch + 1)
            except torch.OutOfMemoryError:
                self._engine.forget()
                raise

    def save(self, folder: Path) -> None:
        """Writes the checkpoint after the last finished epoch."""
        with self._averaged():
            self._engine.writer.save(folder, self.config, self._parameters, self._stepper.optimizer, self._progress)

    @property
    def progress(self) -> Progress:
        """Epochs and steps done so far."""
        return self._progress

    @property
    def num_graphs(self) -> int:
        """CUDA graphs captured so far; 0 on a CPU."""
        return self._stepper.num_graphs

    def close(self) -> None:
        """Detaches the adapters, which leaves the base model as it was."""
        self.adapters.detach()

    def _epoch(self, epoch: int) -> EpochRecord:
        started = time.monotonic()
        device = self._engine.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        before = self._weight_sum()
        num_steps, counts = self._train_epoch(epoch)
        losses, train_counts = self._reduced(counts)
        grad_norm = float(self._stepper.optimizer.norm_sum) / num_steps
        trained = time.monotonic()
        with self._averaged():
            self.val_counts = to_counts(self._validate())
        scores = mean_scores(self.val_counts, self._texts)
        ended = time.monotonic()
        warning = frozen_validation(self._progress.val_dice, scores.dice, moved=self._weight_sum() != before)
        self._progress = Progress(epoch=epoch, step=self._progress.step + num_steps, val_dice=scores.dice)
        return EpochRecord(
            epoch=epoch,
            **dict(zip(("train_loss", *(f"train_loss_{part}" for part in LOSS_PARTS[1:])), losses, strict=True)),  # type: ignore[arg-type]
            lr=float(self._stepper.optimizer.lr),
            grad_norm=grad_norm,
            train_dice=mean_scores(to_counts(train_counts)).dice,
            val_dice=scores.dice,
            val_iou=scores.iou,
            val_recall=scores.recall,
            val_precision=scores.precision,
            it_per_s=len(counts) / (trained - started),
            seconds=ended - started,
            train_seconds=trained - started,
            val_seconds=ended - trained,
            peak_gib=torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else 0.0,
            micro_batch_size=self.config.train.micro_batch_size,
            warning=warning,
        )

    def _train_epoch(self, epoch: int) -> tuple[int, Tensor]:
        """Trains one epoch. Returns the number of optimizer steps and the pixel counts of this worker's images."""
        train, stepper = self.config.train, self._stepper
        # Random numbers depend only on the trial's seed, epoch, fold and rank, so checkpoints need no generator state.
        seed = train.seed * 100_003 + epoch + self._fold * _BETWEEN_FOLDS
        torch.manual_seed((seed * 1_009 + self._rank) % 2**63)
        order = torch.randperm(len(self._train), generator=torch.Generator().manual_seed(seed))
        chunks = order.split(train.micro_batch_size * train.accumulation_steps * self._world_size)
        shares = [chunk[self._rank :: self._world_size].tolist() for chunk in chunks]
        counts = torch.zeros(sum(map(len, shares)), 4, dtype=torch.int64, device=self._engine.device)
        stepper.losses.zero_()
        stepper.optimizer.norm_sum.zero_()
        self.adapters.train(True)
        row = 0
        shown = self._train.in_epoch(epoch, seed=train.seed, augment=self.config.data.augment)
        batches = self._feed.chunks(shown, shares, batch_size=train.micro_batch_size)
        for number, (chunk, share) in enumerate(zip(chunks, batches, strict=True)):
            step = self._progress.step + number
            for fed in share:
                found = stepper.accumulate(fed.batch, fed.shape, chunk_size=len(chunk))
                counts[row : row + len(found)] = found
                row += len(found)
            stepper.reduce()
            if number == 0 and train.full_modules:
                stepper.spare_unreached()
            self._update(step, len(chunks) * train.epochs)
        stepper.check()
        self.adapters.train(False)
        return len(chunks), counts

    def _update(self, step: int, total_steps: int) -> None:
        """One optimizer step with the gradients summed over all workers."""
        stepper = self._stepper
        if self._liveness is not None and step < STEPS_TO_PROVE:
            ranks = self.config.lora.r, self.config.encoder.r
            gradients = stepper.store.views(stepper.optimizer.gradients[:-1], *ranks)
            self._liveness.before_step(step, gradients)
        stepper.update(learning_rate(step, total_steps, self.config.optimizer))
        if step % _STEPS_BETWEEN_CHECKS == 0 or step < STEPS_TO_PROVE:
            stepper.check()
        if self._liveness is not None:
            self._liveness.after_step(step)

    def _reduced(self, counts: Tensor) -> tuple[list[float], Tensor]:
        """Mean losses over the images of all workers, and the pixel counts of every image."""
        losses = self._stepper.losses.clone()
        if self._world_size > 1:
            dist.all_reduce(losses)
            rows = counts.new_zeros(self._world_size, len(self._train), 4)
            rows[self._rank, : len(counts)] = counts
            dist.all_reduce(rows)
            counts = rows.flatten(0, 1)
            counts = counts[counts.sum(dim=1) > 0]
        return (losses / len(self._train)).tolist(), counts

    def _validate(self) -> Tensor:
        """Pixel counts of every validation image; each worker predicts its share."""
        rows = torch.zeros(len(self._val), 4, dtype=torch.int64, device=self._engine.device)
        share = range(self._rank, len(self._val), self._world_size)
        for fed in self._feed.whole(self._val, share, batch_size=self._engine.validation_batch):
            found = self._stepper.count(fed.batch, fed.shape)
            rows[torch.tensor(fed.indices, device=rows.device)] = found[: len(fed.indices)]
        if self._world_size > 1:
            dist.all_reduce(rows)
        return rows

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the running average takes the weights' place, if the trial keeps one."""
        self._stepper.optimizer.swap_average()
        try:
            yield
        finally:
            self._stepper.optimizer.swap_average()

    def _weight_sum(self) -> float:
        return float(self._stepper.store.values.abs().sum(dtype=torch.float64))
