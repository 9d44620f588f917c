"""The SFT loop of one trial: a plain generator of epoch records that knows nothing of Ray or of other trials."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.evaluate.metrics import mean_scores
from tune_sa2va.evaluate.predict import Example, pixel_counts, predict, to_counts
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from tune_sa2va.train.liveness import Liveness, frozen_validation
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.schedule import learning_rate
from tune_sa2va.train.step import LOSS_PARTS, StepResult, training_step


class ExampleSource(Protocol):
    """Images by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


class Trial:
    """One configuration on one base model. Every worker of a lane holds the same trial and takes its share."""

    def __init__(
        self,
        model: Sa2VA,
        train: ExampleSource,
        val: ExampleSource,
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
        self._model, self._train, self._val = model, train, val
        self._rank, self._world_size = rank, world_size
        self._adapters = TrialAdapters(model, config.lora, config.train.full_modules, seed=config.train.seed)
        self._parameters = self._adapters.parameters
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay
        )
        self._progress = Progress(epoch=0, step=0, val_dice=None)
        self._liveness: Liveness | None = None
        try:
            if resume_from is not None:
                self._progress = load_checkpoint(resume_from, config, self._parameters, self._optimizer)
            if self._progress.step == 0:
                self._liveness = Liveness(self._parameters)
        except BaseException:
            self.close()
            raise

    def epochs(self) -> Iterator[EpochRecord]:
        """Train and validate, one record an epoch, from the next epoch to the last.

        Raises:
            TrialFailure: a loss or gradient is not finite, or training does not train.
        """
        while self._progress.epoch < self.config.train.epochs:
            yield self._epoch(self._progress.epoch + 1)

    def save(self, folder: Path) -> None:
        """Write the checkpoint after the last finished epoch."""
        save_checkpoint(folder, self._model, self.config, self._parameters, self._optimizer, self._progress)

    def close(self) -> None:
        """Give the base model back as it was."""
        self._adapters.detach()

    def _epoch(self, epoch: int) -> EpochRecord:
        started = time.monotonic()
        device = self._model.no_mem_embed.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        before = self._weight_sum()
        results = self._train_epoch(epoch)
        losses, train_counts = self._reduced(results, device)
        trained = time.monotonic()
        scores = mean_scores(to_counts(self._validate(device)))
        ended = time.monotonic()
        warning = frozen_validation(self._progress.val_dice, scores.dice, moved=self._weight_sum() != before)
        step = self._progress.step + len(results)
        self._progress = Progress(epoch=epoch, step=step, val_dice=scores.dice)
        images_here = sum(len(result.counts) for result in results)
        return EpochRecord(
            epoch=epoch,
            **dict(zip(("train_loss", *(f"train_loss_{part}" for part in LOSS_PARTS[1:])), losses, strict=True)),
            lr=self._optimizer.param_groups[0]["lr"],
            grad_norm=sum(result.grad_norm for result in results) / len(results),
            train_dice=mean_scores(to_counts(train_counts)).dice,
            val_dice=scores.dice,
            val_iou=scores.iou,
            val_recall=scores.recall,
            val_precision=scores.precision,
            it_per_s=images_here / (trained - started),
            seconds=ended - started,
            train_seconds=trained - started,
            val_seconds=ended - trained,
            peak_gib=torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0,
            warning=warning,
        )

    def _train_epoch(self, epoch: int) -> list[StepResult]:
        train = self.config.train
        # All random numbers of an epoch come from the trial's seed and the epoch's number, so nothing needs saving.
        torch.manual_seed((train.seed * 100_003 + epoch) * 1_009 + self._rank)
        order = torch.randperm(len(self._train), generator=torch.Generator().manual_seed(train.seed * 100_003 + epoch))
        chunks = order.split(train.micro_batch_size * train.accumulation_steps * self._world_size)
        total_steps = len(chunks) * train.epochs
        results = []
        self._adapters.train(True)
        for number, chunk in enumerate(chunks):
            step = self._progress.step + number
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(step, total_steps, self.config.optimizer)
            results.append(
                training_step(
                    self._model,
                    [self._train[index] for index in chunk[self._rank :: self._world_size].tolist()],
                    self._parameters,
                    self._optimizer,
                    self.config.loss,
                    chunk_size=len(chunk),
                    max_grad_norm=self.config.optimizer.max_grad_norm,
                )
            )
            if self._liveness is not None:
                self._liveness.observe(step)
        self._adapters.train(False)
        return results

    def _reduced(self, results: Sequence[StepResult], device: torch.device) -> tuple[list[float], Tensor]:
        """Mean losses over all workers' images, and every image's counts (all-zero rows where there is no image)."""
        losses = torch.stack([result.losses for result in results]).sum(dim=0)
        counts = torch.cat([result.counts for result in results])
        if self._world_size > 1:
            dist.all_reduce(losses)
            rows = torch.zeros(self._world_size, len(self._train), 4, dtype=torch.float64, device=device)
            rows[self._rank, : len(counts)] = counts
            dist.all_reduce(rows)
            counts = rows.flatten(0, 1)
            counts = counts[counts.sum(dim=1) > 0]
        return (losses / len(self._train)).tolist(), counts

    def _validate(self, device: torch.device) -> Tensor:
        """Counts of every validation image; each worker predicts its share."""
        rows = torch.zeros(len(self._val), 4, dtype=torch.float64, device=device)
        for index in range(self._rank, len(self._val), self._world_size):
            example = self._val[index]
            rows[index] = pixel_counts(predict(self._model, example), example.truth)
        if self._world_size > 1:
            dist.all_reduce(rows)
        return rows

    @torch.no_grad()
    def _weight_sum(self) -> float:
        return float(torch.stack(torch._foreach_norm(list(self._parameters.values()))).double().sum())
