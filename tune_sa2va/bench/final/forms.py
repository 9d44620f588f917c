"""Trains the folds and the refit of one configuration on one resplit of the patients, and scores each form.

The locked images are a fixed share of all, whole patients, drawn again for each resplit. On the others, K adapters are
trained, each without one fold, and one more on all of them, as at the end of a search with `--folds K`. Every form is
scored on the same locked images, so differences between forms of one configuration and resplit are paired.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_sa2va.bench.record.resident import ResidentEngine, ResidentImages, open_resident
from tune_sa2va.config import TrialConfig
from tune_sa2va.data import Sample, split_by_group
from tune_sa2va.data.parts import cut_into_folds
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.metrics import count, mean_scores
from tune_sa2va.evaluate.predict import predict, to_device
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.model.average import average_adapters
from tune_sa2va.train.trial import Trial

LOCKED = 0.3
"""Share of the images that are locked: twice that of a search, since forms of one configuration differ little."""


@dataclass(frozen=True)
class FormsBench:
    """The base model and all images of a data set, with their features on the device."""

    engine: ResidentEngine
    images: ResidentImages
    samples: tuple[Sample, ...]

    @classmethod
    def open(cls, data: str, model: str, samples: tuple[Sample, ...], configs: Sequence[TrialConfig]) -> "FormsBench":
        """Loads the model and the features; encodes images that the feature cache lacks."""
        engine, images = open_resident(data, model, samples, configs)
        return cls(engine, images, samples)

    def scores(self, config: TrialConfig, *, folds: int, seed: int) -> dict[FinalName, float]:
        """Mean Dice of each form on the locked images, at threshold 0.5. seed: of the resplit; `config` has its own.

        Raises:
            TrialFailure: a training failed.
            DataError: fewer groups than folds are left.
        """
        parts = split_by_group(self.samples, (1 - LOCKED - 0.1, 0.1, LOCKED), seed=seed)
        parts = cut_into_folds(parts, folds, seed=seed)
        locked = [number for number, sample in enumerate(parts) if sample.split == "test"]
        searched = [number for number, sample in enumerate(parts) if sample.split != "test"]
        with tempfile.TemporaryDirectory(prefix="tune_sa2va-forms-") as name:
            members, own_dice = [Path(name) / f"fold_{fold}" for fold in range(folds)], []
            for fold, folder in enumerate(members):
                inside = [number for number in searched if parts[number].fold == fold]
                outside = [number for number in searched if parts[number].fold != fold]
                own_dice.append(self.train(config, outside, inside, folder, fold=fold))
            adapters = [folder / "adapter" for folder in members]
            mean, refit = Path(name) / "mean", Path(name) / "refit"
            average_adapters(adapters, mean)
            # Scored on its training images after each epoch, as in `score.refit`; nothing is chosen by these scores.
            self.train(config, searched, searched, refit, fold=0)
            return {
                "best-run": self.dice([adapters[int(np.argmax(own_dice))]], locked),
                "average": self.dice([mean], locked),
                "ensemble": self.dice(adapters, locked),
                "refit": self.dice([refit / "adapter"], locked),
            }

    def train(self, config: TrialConfig, train: Sequence[int], val: Sequence[int], folder: Path, *, fold: int) -> float:
        """Trains to the last epoch, writes the checkpoint, and returns the Dice on `val`."""
        trial = Trial(self.engine, self.images.some(train), self.images.some(val), config, fold=fold)
        try:
            *_, last = trial.epochs()
            trial.save(folder)
        finally:
            trial.close()
        return last.val_dice

    def dice(self, adapters: Sequence[Path], numbers: Sequence[int]) -> float:
        """Mean Dice of an adapter, or of an ensemble, on the images with these numbers."""
        model = self.engine.model
        members = Members.attach(model, adapters)
        try:
            counts = []
            for number in numbers:
                example = self.images.examples[number]
                there = to_device(example, self.engine.device)
                logits = members.mean_logits(lambda there=there: predict(model, there))  # type: ignore[misc]
                counts.append(count((logits > 0).cpu().numpy(), example.truth.numpy()))
        finally:
            members.detach()
        return mean_scores(counts, [self.images.texts[number] for number in numbers]).dice
