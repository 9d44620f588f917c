"""Reads golden data: a folder with a small checkpoint, and what the reference's own code computed for one picture.

`inputs.safetensors` and `outputs.safetensors` hold tensors by name, `sample.json` the question and the answer, and
`adapter/` an adapter that PEFT wrote, with its own outputs.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.checkpoint import build_on_meta, leftovers, targets_by_key
from tune_sa2va.model.dims import Sa2VADims, read_dims
from tune_sa2va.model.shards import read_shards


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden data in `folder`. adapter_outputs: None if there is no adapter/."""

    folder: Path
    dims: Sa2VADims
    question: str
    answer: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    adapter_outputs: dict[str, Tensor] | None


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A checkpoint's keys: how many fill native tensors, how many are only for video, and the names of all others."""

    num_mapped: int
    num_leftover: int
    unused: list[str]


def read_golden(folder: Path) -> Golden:
    """The golden data in `folder`.

    Raises:
        CheckpointError: a part of the golden data is missing or cannot be read.
    """
    sample = _read_sample(folder / "sample.json")
    question, answer = _question_and_answer(folder / "sample.json", sample)
    dims = _with_pixel_limits(read_dims(folder), sample)
    inputs = read_tensors(folder / "inputs.safetensors")
    if absent := [name for name in ("image", "mask") if name not in inputs]:
        raise CheckpointError(
            f"{folder / 'inputs.safetensors'}: has no {' and no '.join(absent)}, so it is not golden data. "
            "Give a folder that the reference's code wrote golden data to."
        )
    adapter = folder / "adapter"
    return Golden(
        folder=folder,
        dims=dims,
        question=question,
        answer=answer,
        inputs=inputs,
        outputs=read_tensors(folder / "outputs.safetensors"),
        adapter_outputs=read_tensors(adapter / "outputs.safetensors") if adapter.is_dir() else None,
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor in a safetensors file, by name. Raises CheckpointError if it is missing or cannot be read."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found. Give a folder that the reference's code wrote golden data to."
        ) from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is not a readable safetensors file ({error}). Copy it again.") from error


def key_use(folder: Path, dims: Sa2VADims) -> KeyUse:
    """How the native model uses the keys of the weights in `folder`."""
    model = build_on_meta(dims)
    found = set(read_shards(folder).shapes)
    mapped = targets_by_key(model).keys() & found
    leftover = leftovers(model, found - mapped)
    return KeyUse(len(mapped), len(leftover), sorted(found - mapped - leftover))


def _read_sample(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: is not the description of a golden sample ({type(error).__name__}: {error}). "
            "Give a folder that the reference's code wrote golden data to."
        ) from error


def _with_pixel_limits(dims: Sa2VADims, sample: dict[str, Any]) -> Sa2VADims:
    """The dimensions with the limits of the golden sample: its picture is smaller than Qwen-VL's usual minimum."""
    limits = sample.get("image_processor")
    if dims.family.is_internvl or not isinstance(limits, dict):
        return dims
    picture = replace(dims.patching, min_pixels=int(limits["min_pixels"]), max_pixels=int(limits["max_pixels"]))
    return replace(dims, picture=picture)


def _question_and_answer(path: Path, sample: dict[str, Any]) -> tuple[str, str]:
    try:
        question, answer = str(sample["question"]), str(sample["answer"])
    except KeyError as error:
        raise CheckpointError(
            f"{path}: has no question and answer of a golden sample ({type(error).__name__}: {error}). "
            "Give a folder that the reference's code wrote golden data to."
        ) from error
    if answer.count("[SEG]") != 1:
        raise CheckpointError(f"{path}: the answer must hold [SEG] once, got {answer!r}. Give a sample with one mask.")
    return question, answer
