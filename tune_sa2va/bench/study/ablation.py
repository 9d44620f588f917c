"""What each setting does by itself: configurations by hand, trained on folds of all images and scored out of fold.

No winner is chosen here, so no image needs to be locked away. Trainings and files are those of `bench record`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tune_sa2va.bench.record.pieces import read_recording
from tune_sa2va.bench.record.plan import RecordingPlan
from tune_sa2va.bench.study.cells import StudyPlan
from tune_sa2va.evaluate.bootstrap import mean_interval

_FOLDS = 5
_ENCODER: dict[str, Any] = {"encoder.sam2": "all", "encoder.r": 16, "encoder.lr_factor": 10.0}
_FULL: dict[str, Any] = {"train.full_modules": ["text_hidden_fcs", "mask_decoder"]}
_TOGETHER = _ENCODER | _FULL | {"optimizer.lr": 3e-4, "encoder.lr_factor": 3.0, "data.strength": 0.5}

CONFIGURATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the recipe", {}),
    ("learning rate 5e-4", {"optimizer.lr": 5e-4}),
    ("rank 16", {"lora.r": 16}),
    ("soft-clDice, weight 0.5", {"loss.cldice": 0.5}),
    ("focal Tversky, weight 0.5", {"loss.focal_tversky": 0.5}),
    ("average of the weights, 0.98", {"train.ema": 0.98}),
    ("mask decoder and text_hidden_fcs in full", _FULL),
    ("the same at learning rate 3e-4", _FULL | {"optimizer.lr": 3e-4}),
    ("adapters in all of Hiera", _ENCODER),
    ("adapters in Hiera's later blocks", _ENCODER | {"encoder.sam2": "late"}),
    ("all of Hiera, augmentation 0.5", _ENCODER | {"data.strength": 0.5}),
    ("all of Hiera, augmentation 0.5, decoder in full, 3e-4", _TOGETHER),
    ("the same, average of the weights, 0.98", _TOGETHER | {"train.ema": 0.98}),
)
"""(Name, fields that differ from the recipe); the recipe first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationRow:
    """One configuration over all images and seeds.

    dice: mean over images out of fold, after the last epoch. gain, low, high: paired difference to the recipe, with its
    95% interval by bootstrap over patients; NaN for the recipe. failed: adapters whose training failed; their images
    are left out.
    """

    name: str
    images: int
    dice: float
    gain: float
    low: float
    high: float
    failed: int


def ablation_plan(plan: StudyPlan, *, seeds: int) -> RecordingPlan:
    """What is trained. seeds: adapters per configuration and fold."""
    return RecordingPlan(
        data=plan.data, space=None, model=plan.model, num_configurations=len(CONFIGURATIONS), folds=_FOLDS, seeds=seeds,
        epochs=plan.epochs, by_hand=tuple(fields for _, fields in CONFIGURATIONS),
    )  # fmt: skip


def ablation_rows(plan: RecordingPlan, folder: Path) -> list[AblationRow]:
    """The rows, in the order of CONFIGURATIONS; those without a finished training are left out."""
    path = folder / f"{Path(plan.data).name}.parquet"
    if not path.is_file():
        return []
    counts = read_recording(path).to_pandas()
    last = counts[counts["epoch"] == plan.epochs].copy()
    overlap = 2.0 * last["tp"]
    # An image without vessels, and none found, is a perfect prediction.
    last["dice"] = (overlap / (overlap + last["fp"] + last["fn"])).fillna(1.0)
    runs = counts.groupby(["configuration", "seed", "fold"])["epoch"].max()
    by_image = last.astype({"image_code": str, "group_code": str})
    means = by_image.groupby(["configuration", "image_code", "group_code"])["dice"].mean().reset_index()
    recipe = means[means["configuration"] == 0].set_index("image_code")["dice"]
    rows = []
    for number, (name, _) in enumerate(CONFIGURATIONS):
        own = means[means["configuration"] == number]
        if own.empty or recipe.empty:
            continue
        failed = int((runs.loc[number] < plan.epochs).sum())
        rows.append(_row(name, own, recipe, failed=failed, is_recipe=number == 0))
    return rows


def _row(name: str, own: pd.DataFrame, recipe: pd.Series, *, failed: int, is_recipe: bool) -> AblationRow:
    gains = own["dice"].to_numpy() - recipe.reindex(own["image_code"]).to_numpy()
    interval = mean_interval(gains.tolist(), own["group_code"].tolist())
    nothing = float("nan")
    gain, low, high = (nothing,) * 3 if is_recipe else (interval.mean, interval.low, interval.high)
    return AblationRow(
        name=name, images=len(own), dice=float(own["dice"].mean()), gain=gain, low=low, high=high, failed=failed
    )


def ablation_markdown(rows: list[AblationRow]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | images | Dice | beside the recipe [95%, patients] | failed |", "|---|---|---|---|---|"]
    for row in rows:
        gain = "" if np.isnan(row.gain) else f"{row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        lines.append(f"| {row.name} | {row.images} | {row.dice:.3f} | {gain} | {row.failed or ''} |")
    return "\n".join(lines) + "\n"
