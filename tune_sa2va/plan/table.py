"""The pace from earlier benchmarks on the same kind of card, for plans that run no probe."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tune_sa2va
from tune_sa2va.config import Precision
from tune_sa2va.errors import UserError
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.plan.pace import Pace

TABLES = Path(tune_sa2va.__file__).parents[1] / "results" / "bench"
"""Next to the package in a checkout; an installed package has none."""

_ALIKE = 1.25
"""By which factor the pixels of a measurement may differ from those of the images."""


def pace_from_tables(
    tables: Path,
    *,
    model: str,
    precision: Precision,
    fp8_copies: int,
    seats: int,
    device: str,
    sizes_px: Sequence[tuple[int, int]],
) -> Pace | None:
    """The pace in the newest measurement of such a model on such a device at about these image sizes; None without one.

    precision: of the base. fp8_copies: that it keeps; means nothing in another precision. seats: trials that share the
    steps. device: torch's name of the card.
    sizes_px: (height, width) of each image; their median number of pixels counts.
    """
    pixels = sorted(height * width for height, width in sizes_px)[len(sizes_px) // 2]
    for file in sorted(tables.glob("*/*.json"), reverse=True):  # folders begin with the date
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if not isinstance(content, dict) or content.get("hardware", {}).get("device") != device:
            continue
        if content.get("precision", "bf16") != precision or not _is_alike(content.get("model"), model):
            continue
        if precision == "fp8" and content.get("fp8_copies", 2) != fp8_copies:
            continue
        alike = [case for case in _cases(content) if case.get("seats", 1) == seats]
        fitting = [case for case in alike if _distance(case, pixels) <= _ALIKE]
        if fitting:
            return _pace(min(fitting, key=lambda case: _distance(case, pixels)), content, file)
    return None


def _pace(case: dict[str, Any], content: dict[str, Any], file: Path) -> Pace:
    where = f"{file.parent.name}/{file.name}"
    seats = case.get("seats", 1)  # the case has times per image of all seats, a pace those of an image for each seat
    missing = "" if "encode_ms_per_image" in case else "; without the time of the encoders"
    return Pace(
        load_s=float(content.get("seconds", {}).get("load_model", 0.0)),
        encode_s=float(case.get("encode_ms_per_image", 0.0)) / 1e3,
        start_s=float(case.get("start_s", 0.0)),
        train_s=seats * case["train_ms_per_image"] / 1e3,
        val_s=seats * case["val_ms_per_image"] / 1e3,
        peak_gib=float(case.get("reserved_gib", 0.0)),
        source=f"results/bench/{where}: {case['width']}x{case['height']} on {content['hardware']['device']}{missing}",
    )


def _cases(value: Any) -> Iterator[dict[str, Any]]:
    """Every measurement of a step of the recipe in a file, however deeply nested."""
    if isinstance(value, dict):
        is_step = {"train_ms_per_image", "val_ms_per_image", "height", "width"} <= value.keys()
        if is_step and not value.get("eager") and is_recipe(value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _cases(each)


def is_recipe(case: Mapping[str, Any]) -> bool:
    """Whether a measured step is the recipe's, all activations kept."""
    return not any(case.get(other) for other in ("fields", "dropout", "checkpointed"))


def _distance(case: dict[str, Any], pixels: int) -> float:
    measured = case["height"] * case["width"]
    return max(measured, pixels) / min(measured, pixels)


def _is_alike(measured: Any, model: str) -> bool:
    """Whether both models have a language model of the same size, so that a preset counts like the checkpoint of its
    dimensions. False if one of them cannot be read."""
    try:
        theirs, ours = (read_dims(model_folder(str(name))).language_model for name in (measured, model))
    except UserError:
        return False
    keys = ("hidden_size", "num_hidden_layers", "intermediate_size")
    return all(getattr(theirs, key) == getattr(ours, key) for key in keys)
