"""A folder of golden data: a small checkpoint with what the reference's own code made of one picture.

`inputs.safetensors` and `outputs.safetensors` hold tensors by name, `sample.json` the question and the answer, and
`adapter/` an adapter that PEFT wrote, with outputs of its own.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.checkpoint import build_on_meta
from tune_sa2va.model.dims import Sa2VADims, read_dims
from tune_sa2va.model.keymap import is_leftover, source_of


@dataclass(frozen=True, slots=True)
class Golden:
    """What `folder` says. adapter_outputs is None where there is no adapter/."""

    folder: Path
    dims: Sa2VADims
    question: str
    answer: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    adapter_outputs: dict[str, Tensor] | None


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The checkpoint's keys: how many fill native tensors, how many serve video only, and the names of all others."""

    num_mapped: int
    num_leftover: int
    unused: list[str]


def read_golden(folder: Path) -> Golden:
    """The golden data in `folder`.

    Raises:
        CheckpointError: something that belongs to golden data is not there or cannot be read.
    """
    dims = read_dims(folder)
    question, answer = _read_sample(folder / "sample.json")
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
    """Every tensor of one safetensors file."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found. Give a folder that the reference's code wrote golden data to."
        ) from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is not a readable safetensors file ({error}). Copy it again.") from error


def key_use(folder: Path, dims: Sa2VADims) -> KeyUse:
    """What becomes of every key in the folder's model*.safetensors."""
    found: set[str] = set()
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(path, framework="pt") as shard:
                found.update(shard.keys())
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: is not a readable safetensors file ({error}). Copy it again.") from error
    mapped = {key for name in build_on_meta(dims).state_dict() for key in source_of(name).keys}
    leftover = {key for key in found - mapped if is_leftover(key)}
    return KeyUse(len(found & mapped), len(leftover), sorted(found - mapped - leftover))


def _read_sample(path: Path) -> tuple[str, str]:
    try:
        sample = json.loads(path.read_text(encoding="utf-8"))
        question, answer = str(sample["question"]), str(sample["answer"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: has no question and answer of a golden sample ({type(error).__name__}: {error}). "
            "Give a folder that the reference's code wrote golden data to."
        ) from error
    if answer.count("[SEG]") != 1:
        raise CheckpointError(f"{path}: the answer must hold [SEG] once, got {answer!r}. Give a sample with one mask.")
    return question, answer
