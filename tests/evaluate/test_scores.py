"""Scores at each threshold, against those of masks thresholded by hand."""

from pathlib import Path

import pytest
import torch

from tests.train.bench import lane_settings
from tune_sa2va.data.split_file import read_split
from tune_sa2va.evaluate.distance import hausdorff_95
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.metrics import count
from tune_sa2va.evaluate.predict import predict
from tune_sa2va.evaluate.scores import means, score_images
from tune_sa2va.evaluate.topology import betti_error, cl_dice
from tune_sa2va.train.workbench import open_examples, open_model


def test_each_threshold_cuts_the_probabilities(tmp_path: Path) -> None:
    settings = lane_settings(tmp_path)
    device = torch.device("cpu")
    model = open_model(settings.model, device)
    samples = [sample for sample in read_split(tmp_path, settings.data) if sample.split == "val"]
    examples = open_examples(model, settings, samples, device)
    thresholds = (0.5, 0.2)
    images = score_images(model, Members.attach(model, []), examples, ["a", "b"], thresholds, prompter=None)
    assert [(image.label, image.text, image.wrote_seg) for image in images] == [
        (label, sample.text, None) for label, sample in zip("ab", samples, strict=True)
    ]
    dices = {}
    for threshold in thresholds:
        for index, image in enumerate(images):
            mask = (torch.sigmoid(predict(model, examples[index])) > threshold).numpy()
            truth = examples[index].truth.numpy()
            counts = count(mask, truth)
            wanted = {name: getattr(counts, name) for name in ("dice", "iou", "recall", "precision")}
            wanted |= {"cl_dice": cl_dice(mask, truth), "hd95_px": hausdorff_95(mask, truth)}
            assert image.at[threshold] == pytest.approx(wanted | {"betti_error": betti_error(mask, truth)})
            dices.setdefault(threshold, []).append(counts.dice)
    assert dices[0.5] != dices[0.2]
    assert means(images, 0.2)["dice"].mean == pytest.approx(sum(dices[0.2]) / 2)
