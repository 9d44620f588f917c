"""Scores on images with truth, at Sa2VA's threshold and at the chosen one; and whether the model still writes [SEG]."""

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
    """One image with one text. at: threshold -> measure -> value, NaN where a measure is not defined.

    wrote_seg: None where the model was not asked to write.
    """

    label: str
    group: str
    """Its patient or video, whose images are alike."""
    text: str
    at: dict[float, dict[str, float]]
    wrote_seg: bool | None
    is_absent: bool = False
    """Its truth is empty: Dice is 1 where nothing is predicted, and 0 where something is."""


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
    """Scores of each example's mask, its answer given. labels: what the images are called in what is shown.

    members: attached to the model. out_of_fold: each image by the member of its fold alone. prompter: let the model
    write its own answer, too, and look for [SEG] (of an ensemble, its first member); None leaves that out.
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
        at = {threshold: _scores(mask, truth) for threshold, mask in masks.items()}
        sample = examples.samples[index]
        one = ImageScores(
            label=label, group=sample.group, text=sample.text, at=at, wrote_seg=wrote_seg, is_absent=not truth.any()
        )
        scored.append(one)
    return scored


def means(images: Sequence[ImageScores], threshold: float) -> dict[str, Interval]:
    """Mean over texts of each measure's mean over images, with its bootstrap interval over groups."""
    groups, texts = [image.group for image in images], [image.text for image in images]
    return {
        measure: mean_interval([image.at[threshold][measure] for image in images], groups, texts)
        for measure in MEASURES
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDice:
    """The images that were asked for one text: their mean Dice, and of how many absent ones something was predicted."""

    text: str
    dice: Interval
    num_images: int
    num_absent: int
    num_false_alarms: int


def of_texts(images: Sequence[ImageScores], threshold: float) -> list[TextDice]:
    """Text by text; empty where all images were asked for one thing and none of it is absent."""
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
        """None where the model was not asked to write."""
        answers = [image.wrote_seg for image in images if image.wrote_seg is not None]
        return cls(sum(answers), len(answers)) if answers else None

    @property
    def is_broken(self) -> bool:
        """Under half: who asks this model in Sa2VA's chat gets no mask more often than one."""
        return 2 * self.written < self.asked


def _scores(mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> dict[str, float]:
    counts = count(mask, truth)
    return {measure: getattr(counts, measure) for measure in OVERLAP} | {
        "cl_dice": cl_dice(mask, truth),
        "hd95_px": hausdorff_95(mask, truth),
        "betti_error": betti_error(mask, truth),
    }
