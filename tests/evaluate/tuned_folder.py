"""Makes a data set and adapters with `tune_sa2va.json` as an export writes them, without a search."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.config import RECIPE, LoraSettings
from tune_sa2va.data import Sample, check, fingerprint, open_dataset, split_by_group
from tune_sa2va.data.known_images import write_content
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.evaluate.tuned import (
    TUNED_FILE,
    BaseModelName,
    MeanScore,
    Metrics,
    PartScores,
    SplitRule,
    Tuned,
    Verification,
)
from tune_sa2va.model.adapter import save_adapter
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.identity import model_hash
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters

IMAGES, RATIOS, SEED, THRESHOLD = 5, (0.4, 0.3, 0.3), 3, 0.3


@dataclass(frozen=True)
class Made:
    """data: a data set of IMAGES images. adapter: one that still writes [SEG]. silent: one that no longer does."""

    data: Path
    adapter: Path
    silent: Path


def make(folder: Path) -> Made:
    """Adapters of the tiny preset with random B: once small, and once so large that answers become random."""
    made = Made(folder / "data", folder / "adapter", folder / "silent")
    write_folder(made.data, "leg", IMAGES, 96, 0)
    model = load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=torch.float32)
    for place, spread in ((made.adapter, 0.02), (made.silent, 3.0)):
        lora = LoraSettings(r=2)
        adapters = TrialAdapters(model, lora, (), seed=0)
        try:
            with torch.no_grad():
                for name, parameter in adapters.parameters.items():
                    if "lora_B" in name:
                        parameter.normal_(0.0, spread, generator=torch.Generator().manual_seed(1))
            save_adapter(place, model, adapters.parameters, lora, ())
        finally:
            adapters.detach()
        (place / TUNED_FILE).write_text(a_tuned(fingerprint(check(open_dataset(made.data)).samples)).to_json())
        write_content(place, split_samples(made.data))
    return made


def split_samples(data: Path) -> tuple[Sample, ...]:
    """The samples, split as in the search that the adapters claim to come from."""
    return split_by_group(check(open_dataset(data)).samples, RATIOS, seed=SEED)


def a_tuned(data_fingerprint: str) -> Tuned:
    """A record with made-up scores, which the tests do not read."""
    zero = MeanScore(mean=0.0, low=None, high=None)
    scores = PartScores(num_images=1, threshold=0.5, dice=zero, iou=zero, recall=zero, precision=zero)
    return Tuned(
        trial="0000",
        epoch=1,
        base_model=BaseModelName(id="tiny", sha256=model_hash(model_folder("tiny"))),
        data_fingerprint=data_fingerprint,
        split=SplitRule(ratios=RATIOS, seed=SEED),
        threshold=THRESHOLD,
        metrics=Metrics(val_default=scores, val_chosen=scores),
        verification=Verification(
            recorded_val_dice=0.0, val_dice=0.0, difference=0.0, tolerance=1e-6, precision="fp32", device="cpu"
        ),
        config=RECIPE,
    )
