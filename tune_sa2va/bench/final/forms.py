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
import torch

from tune_sa2va.bench.record.resident import ResidentEngine, ResidentImages
from tune_sa2va.cache.place import features_folder
from tune_sa2va.config import DataSettings, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.data import Sample, split_by_group
from tune_sa2va.data.parts import cut_into_folds
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.metrics import count, mean_scores
from tune_sa2va.evaluate.predict import predict, to_device
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.model.average import average_adapters
from tune_sa2va.model.encoding import release_encoders
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import open_examples, open_model

LOCKED = 0.3
"""Of the images: twice a search's, since forms of one configuration differ by little."""


@dataclass(frozen=True)
class FormsBench:
    """The base model and all images of a data set, their features on the device."""

    engine: ResidentEngine
    images: ResidentImages
    samples: tuple[Sample, ...]
    device: torch.device

    @classmethod
    def open(cls, data: str, model: str, samples: tuple[Sample, ...], configs: Sequence[TrialConfig]) -> "FormsBench":
        """Loads the model and the features; encodes what the feature cache lacks."""
        on_gpu = torch.cuda.is_available()
        device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
        settings = LaneSettings(
            model=ModelSettings(model=model, precision="bf16" if on_gpu else "fp32"),
            data=DataSettings(source=data),
            feature_cache=features_folder(),
            raw_high_res=any("mask_decoder" in config.train.full_modules for config in configs),
            num_workers=1,
            use_gpu=on_gpu,
            max_rank=max(config.lora.r for config in configs) if on_gpu else None,
            any_dropout=any(config.lora.dropout > 0 for config in configs),
        )
        base = open_model(settings.model, device)
        images = ResidentImages.load(open_examples(base, settings, samples, device), device)
        release_encoders(base)
        engine = ResidentEngine(base, max_rank=settings.max_rank, any_dropout=settings.any_dropout)
        return cls(engine, images, samples, device)

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
                there = to_device(example, self.device)
                logits = members.mean_logits(lambda there=there: predict(model, there))  # type: ignore[misc]
                counts.append(count((logits > 0).cpu().numpy(), example.truth.numpy()))
        finally:
            members.detach()
        return mean_scores(counts, [self.images.texts[number] for number in numbers]).dice
