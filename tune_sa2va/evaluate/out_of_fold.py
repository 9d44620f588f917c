"""Predicts the images that a search validates on, each by the adapter that was not trained on it."""

import numpy as np
from jaxtyping import Int

from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.predict import predict
from tune_sa2va.evaluate.threshold import histogram
from tune_sa2va.model.sa2va import Sa2VA


def out_of_fold(model: Sa2VA, members: Members, examples: Examples) -> list[Int[np.ndarray, "2 G+1"]]:
    """Each image's histogram of logits (see `evaluate.threshold`), in the order of `examples`.

    members: attached to `model`, one per fold. A single member, or the base if there is none, predicts all images. If
        they change an encoder, the model encodes each image anew.
    """
    examples = examples.for_members(model, members)
    found: dict[int, np.ndarray] = {}
    for fold in range(max(len(members), 1)):
        if len(members) > 1:
            members.enter(fold)
        for index, sample in enumerate(examples.samples):
            if len(members) > 1 and sample.fold != fold:
                continue
            example = examples[index]
            found[index] = histogram(predict(model, example), example.truth).cpu().numpy()
    return [found[index] for index in range(len(examples))]
