"""Steps on cached features and on features fresh from the encoders: the same losses and gradients, bit for bit."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE, Augment
from tune_sa2va.data import load_image, load_truth
from tune_sa2va.data.split_file import read_names
from tune_sa2va.data.variants import Variant, laid_out
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.encoding import EncodersReleasedError, encode
from tune_sa2va.model.locate import model_folder
from tune_sa2va.train.workbench import Workbench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    folder = tmp_path_factory.mktemp("bench")
    settings = lane_settings(folder, images=5).model_copy(update={"augment": "flips"})
    return Workbench.open(settings, read_names(folder), rank=0, world_size=1)


class Uncached:
    """The same images, with features computed by the encoders and not read from the cache."""

    def __init__(self, examples: Examples, augment: Augment) -> None:
        """Encodes what the first epoch shows."""
        model = load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=torch.float32)
        self._examples = examples
        self._variants = examples.in_epoch(1, seed=0, augment=augment).variants
        self._features = {
            (index, variant): encode(model, laid_out(load_image(sample.image), variant), raw_high_res=True)
            for index, (sample, variant) in enumerate(zip(examples.samples, self._variants, strict=True))
        }

    def __len__(self) -> int:
        return len(self._examples)

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "Uncached":
        self._variants = self._examples.in_epoch(epoch, seed=seed, augment=augment).variants
        return self

    def on_cpu(self, index: int) -> Example:
        variant = self._variants[index]
        cached = self._examples.on_cpu(index, variant)
        return replace(cached, features=self._features[index, variant])


@pytest.mark.parametrize("augment", [pytest.param("none", marks=pytest.mark.slow), "flips"])
def test_steps_on_cached_and_on_fresh_features_are_the_same_bit_for_bit(
    bench: Workbench, tmp_path: Path, augment: Augment
) -> None:
    """Adam's moments depend on every step's gradients, so equal checkpoints mean equal gradients."""
    config = RECIPE.replace(
        {"train.epochs": 2, "lora.r": 4, "data.augment": augment, "train.full_modules": ["mask_decoder"]}
    )
    records = {}
    for name, part in (("cached", bench.train), ("fresh", Uncached(bench.train, augment))):
        trial = replace(bench, parts=(replace(bench.parts[0], train=part),)).trial(config)
        record = next(trial.epochs())
        trial.save(tmp_path / name)
        trial.close()
        records[name] = (record.train_loss, record.train_loss_dice, record.grad_norm, record.val_dice)
    assert records["cached"] == records["fresh"]
    files = sorted(path.relative_to(tmp_path / "cached") for path in (tmp_path / "cached").rglob("*.safetensors"))
    assert len(files) >= 2
    for name in files:
        assert (tmp_path / "cached" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes(), name


def test_an_epoch_shows_truth_and_features_of_the_same_variant(bench: Workbench) -> None:
    shown = bench.train.in_epoch(1, seed=0, augment="flips")
    assert shown.variants == bench.train.in_epoch(1, seed=0, augment="flips").variants
    drawn = Counter(v for e in range(8) for v in bench.train.in_epoch(e, seed=0, augment="flips").variants)
    assert len(drawn) == 4
    assert set(bench.train.in_epoch(3, seed=0, augment="none").variants) == {Variant.AS_IS}
    index = next(i for i, variant in enumerate(shown.variants) if variant is not Variant.AS_IS)
    sample, variant = bench.train.samples[index], shown.variants[index]
    truth = load_truth(sample, *load_image(sample.image).shape[:2])
    assert (shown.on_cpu(index).truth.numpy() == laid_out(truth, variant)).all()


def test_augmented_trials_train_on_other_pictures_and_repeat(bench: Workbench) -> None:
    losses = {}
    for augment in ("none", "flips"):
        config = RECIPE.replace({"train.epochs": 2, "lora.r": 4, "data.augment": augment})
        runs = []
        for _ in range(2):
            trial = bench.trial(config)
            runs.append([record.train_loss for record in trial.epochs()])
            trial.close()
        assert runs[0] == runs[1]
        losses[augment] = runs[0]
    assert losses["none"] != losses["flips"]


def test_variants_that_are_not_cached_are_refused(bench: Workbench) -> None:
    with pytest.raises(UserError, match="cached the variants of 'flips'"):
        bench.trial(RECIPE.replace({"data.augment": "flips_turns"}))


def test_the_encoders_are_gone_when_training_starts(bench: Workbench) -> None:
    with pytest.raises(EncodersReleasedError):
        encode(bench.model, load_image(Path(bench.train.samples[0].image)), raw_high_res=True)
