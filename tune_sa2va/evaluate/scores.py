"""Scores images at several thresholds against their truth, and checks whether the model still writes [SEG]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from tune_sa2va.evaluate.bootstrap import Interval, mean_interval
from tune_sa2va.evaluate.distance import hausdorff_95
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.metrics import count
from tune_sa2va.evaluate.predict import generated_answer, predict
from tune_sa2va.evaluate.progress import tracked
from tune_sa2va.evaluate.threshold import logit_of
from tune_sa2va.evaluate.topology import betti_error, cl_dice
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import Sa2VA

OVERLAP = ("dice", "iou", "recall", "precision")
MEASURES = (*OVERLAP, "cl_dice", "hd95_px", "betti_error")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScores:
    """Scores of one image for one text. at: threshold -> measure -> value; NaN if the measure is not defined.

    wrote_seg: whether the model wrote [SEG] by itself; None if it was not asked to.
    """

    label: str
    group: str
    """Patient or video of the image."""
    text: str
    at: dict[float, dict[str, float]]
    wrote_seg: bool | None
    is_absent: bool = False
    """Whether its truth is empty: Dice is then 1 if nothing is predicted, and 0 otherwise."""


def score_images(
    model: Sa2VA,
    members: Members,
    examples: Examples,
    labels: Sequence[str],
    thresholds: Sequence[float],
    *,
    prompter: Prompter | None,
    out_of_fold: bool = False,
) -> list[ImageScores]:
    """Scores the mask of each example, predicted with the answer given.

    members: attached to the model. labels: names of the images in the output.
    prompter: also let the model write its own answer and look for [SEG] (an ensemble's first member does); None to skip
        this.
    out_of_fold: predict each image by the member of its fold only.
    """
    scored = []
    for index, label in enumerate(tracked(labels, "scoring")):
        only = examples.samples[index].fold if out_of_fold else None
        logits = members.mean_logits(lambda index=index: predict(model, examples[index]), only=only)  # type: ignore[misc]
        truth = examples.truth(index).numpy()
        masks = {threshold: (logits > logit_of(threshold)).cpu().numpy() for threshold in thresholds}
        wrote_seg = None
        if prompter is not None:
            members.enter_first()
            height, width = truth.shape
            example = examples[index]
            answer = generated_answer(model, example.features, example.tokens, (height, width), prompter=prompter)
            wrote_seg = answer.logits is not None
        at = {threshold: mask_scores(mask, truth) for threshold, mask in masks.items()}
        sample = examples.samples[index]
        one = ImageScores(
            label=label, group=sample.group, text=sample.text, at=at, wrote_seg=wrote_seg, is_absent=not truth.any()
        )
        scored.append(one)
    return scored


def means(images: Sequence[ImageScores], threshold: float) -> dict[str, Interval]:
    """The mean over texts of each measure's mean over images, with its bootstrap interval over groups."""
    groups, texts = [image.group for image in images], [image.text for image in images]
    return {
        measure: mean_interval([image.at[threshold][measure] for image in images], groups, texts)
        for measure in MEASURES
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDice:
    """The images that were asked for one text: mean Dice, and for how many absent targets vessel was predicted."""

    text: str
    dice: Interval
    num_images: int
    num_absent: int
    num_false_alarms: int


def of_texts(images: Sequence[ImageScores], threshold: float) -> list[TextDice]:
    """Scores by text; empty if all images were asked for the same and it is absent in none."""
    texts = sorted({image.text for image in images})
    if len(texts) < 2 and not any(image.is_absent for image in images):
        return []
    found = []
    for text in texts:
        own = [image for image in images if image.text == text]
        absent = [image for image in own if image.is_absent]
        dices = [image.at[threshold]["dice"] for image in own]
        found.append(
            TextDice(
                text=text,
                dice=mean_interval(dices, [image.group for image in own]),
                num_images=len(own),
                num_absent=len(absent),
                num_false_alarms=sum(image.at[threshold]["dice"] == 0.0 for image in absent),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class SegShare:
    """For how many images the model wrote [SEG] by itself."""

    written: int
    asked: int

    @classmethod
    def of(cls, images: Sequence[ImageScores]) -> "SegShare | None":
        """None if the model was not asked to write."""
        answers = [image.wrote_seg for image in images if image.wrote_seg is not None]
        return cls(sum(answers), len(answers)) if answers else None

    @property
    def is_broken(self) -> bool:
        """Whether [SEG] was written for less than half: in Sa2VA's chat, most questions would then give no mask."""
        return 2 * self.written < self.asked


def mask_scores(mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> dict[str, float]:
    """MEASURES of one mask; NaN where one is not defined."""
    counts = count(mask, truth)
    return {measure: getattr(counts, measure) for measure in OVERLAP} | {
        "cl_dice": cl_dice(mask, truth),
        "hd95_px": hausdorff_95(mask, truth),
        "betti_error": betti_error(mask, truth),
    }
