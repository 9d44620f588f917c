"""A step on cached features and one on features fresh from the encoders: the same loss and gradients, bit for bit."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE
from tune_sa2va.data import load_image, load_truth
from tune_sa2va.data.variants import Variant, laid_out
from tune_sa2va.errors import UserError
from tune_sa2va.model.checkpoint import load_model, model_folder
from tune_sa2va.model.encoding import EncodersReleasedError, encode
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.train.step import image_loss
from tune_sa2va.train.workbench import Workbench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    settings = lane_settings(tmp_path_factory.mktemp("bench"), raw_high_res=True)
    return Workbench.open(settings.model_copy(update={"augment": "flips"}), rank=0, world_size=1)


@pytest.mark.parametrize("variant", [Variant.AS_IS, Variant.MIRRORED])
def test_cached_and_uncached_steps_are_bit_for_bit_the_same(bench: Workbench, variant: Variant) -> None:
    whole_model = load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=torch.float32)
    sample = bench.train.samples[0]
    image = laid_out(load_image(sample.image), variant)
    cached = bench.train.on_cpu(0, variant)
    uncached = replace(cached, features=encode(whole_model, image, raw_high_res=True))
    results = []
    for example in (cached, uncached):
        adapters = TrialAdapters(bench.model, RECIPE.lora, ("mask_decoder",), seed=0)
        loss, _ = image_loss(bench.model, example, RECIPE.loss)
        loss[0].backward()
        gradients = {name: value.grad for name, value in adapters.parameters.items() if value.grad is not None}
        adapters.detach()
        results.append((loss.detach(), gradients))
    (loss, gradients), (other_loss, other_gradients) = results
    assert torch.equal(loss, other_loss)
    assert gradients.keys() == other_gradients.keys() and len(gradients) > 10
    assert all(torch.equal(gradients[name], other_gradients[name]) for name in gradients)


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
