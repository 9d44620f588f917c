"""Evaluates a model on the images of a part: loads it, chooses a threshold if it has none, and scores it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tune_sa2va.cache.fill import fill
from tune_sa2va.cache.place import features_folder
from tune_sa2va.cache.progress import shown_progress
from tune_sa2va.cache.store import FeatureCache, pictures
from tune_sa2va.config import DataSettings
from tune_sa2va.data import Sample
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.out_of_fold import out_of_fold
from tune_sa2va.evaluate.part import Label, Part
from tune_sa2va.evaluate.scores import ImageScores, score_images
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, choose_threshold
from tune_sa2va.evaluate.tuned_model import TunedModel, the_device
from tune_sa2va.model.prompt import Prompter


@dataclass(frozen=True, slots=True)
class Evaluation:
    """thresholds: Sa2VA's own first, then the chosen one if it differs. Each image is scored at all of them."""

    images: tuple[ImageScores, ...]
    thresholds: tuple[float, ...]


def evaluate(
    tuned: TunedModel, part: Part, validated: Sequence[Sample], *, source: str, label: Label, generate: bool
) -> Evaluation:
    """Scores of `part`'s images at 0.5 and at the model's threshold.

    validated: images on which to choose a threshold for a model that has none; empty to use the model's own. They are
        predicted by the whole model, which must not have been trained on them.
    source: the data set's path, for its settings. label: makes the name of an image.
    generate: also let the model write its own answers.

    Raises:
        DamagedFeaturesError: a cached feature file is damaged. It has been removed; the next attempt computes it again.
    """
    device = the_device()
    model = tuned.load_base(device)
    raw = "mask_decoder" in tuned.full_modules  # a trained decoder projects the finer levels by its own convolutions
    cache = FeatureCache(features_folder(), tuned.folder, model.no_mem_embed.dtype, raw_high_res=raw)
    with shown_progress() as on_progress:
        fill(cache, model, pictures((*part.samples, *validated), "none"), on_progress=on_progress)
    members = tuned.attach(model)
    prompter = Prompter(tuned.folder)
    settings = DataSettings(source=source, question=tuned.question, answer=tuned.answer)

    def examples_of(samples: Sequence[Sample]) -> Examples:
        return Examples(samples, cache, prompter, settings, device).for_members(model, members)

    threshold = tuned.threshold
    if validated:
        held_out = examples_of(validated)
        threshold = choose_threshold(out_of_fold(model, members, held_out), held_out.texts)
    thresholds = tuple(dict.fromkeys((DEFAULT_THRESHOLD, threshold)))
    images = score_images(
        model, members, examples_of(part.samples), [label(sample) for sample in part.samples], thresholds,
        prompter=prompter if generate else None, out_of_fold=part.out_of_fold,
    )  # fmt: skip
    return Evaluation(tuple(images), thresholds)
