"""One configuration on one resplit of the patients: its folds and its refit trained, each form of them scored.

The locked images are a fixed share of the patients, drawn anew for each resplit. K adapters are trained without one
fold of the others each, one more on all of these: what a search with `--folds K` has at its end. So every form is
scored on the same locked images, and differences between forms of one configuration and resplit are paired.
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
"""Of the images: twice a search's, since forms of one configuration differ by little."""


@dataclass(frozen=True)
class FormsBench:
    """The base model and all images of a data set, their features on the device."""

    engine: ResidentEngine
    images: ResidentImages
    samples: tuple[Sample, ...]

    @classmethod
    def open(cls, data: str, model: str, samples: tuple[Sample, ...], configs: Sequence[TrialConfig]) -> "FormsBench":
        """Loads the model and the features; encodes what the feature cache lacks."""
        engine, images = open_resident(data, model, samples, configs)
        return cls(engine, images, samples)

    def scores(self, config: TrialConfig, *, folds: int, seed: int) -> dict[FinalName, float]:
        """Mean Dice of each form on the locked images at 0.5. seed: of the resplit; the training's is the config's.

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
                own_dice.append(self._train(config, outside, inside, folder, fold=fold))
            adapters = [folder / "adapter" for folder in members]
            mean, refit = Path(name) / "mean", Path(name) / "refit"
            average_adapters(adapters, mean)
            # Scored on its own images after each epoch, as `score.refit` does; nothing is chosen by it.
            self._train(config, searched, searched, refit, fold=0)
            return {
                "best-run": self._dice([adapters[int(np.argmax(own_dice))]], locked),
                "average": self._dice([mean], locked),
                "ensemble": self._dice(adapters, locked),
                "refit": self._dice([refit / "adapter"], locked),
            }

    def _train(
        self, config: TrialConfig, train: Sequence[int], val: Sequence[int], folder: Path, *, fold: int
    ) -> float:
        """Writes the checkpoint after the last epoch; gives back the Dice of `val` then."""
        trial = Trial(self.engine, self.images.some(train), self.images.some(val), config, fold=fold)
        try:
            *_, last = trial.epochs()
            trial.save(folder)
        finally:
            trial.close()
        return last.val_dice

    def _dice(self, adapters: Sequence[Path], numbers: Sequence[int]) -> float:
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
