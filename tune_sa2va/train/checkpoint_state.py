"""Reads a checkpoint's `state.json` and verifies the checksums of the files beside it.

Does not import torch: the owner of a lane checks checkpoints, and only its workers load their tensors.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import CheckpointError

ADAPTER_FILE = "adapter/adapter_model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """epoch: finished epochs. step: optimizer steps done. val_dice: that of the last epoch; None before the first."""

    epoch: int
    step: int
    val_dice: float | None


def objective(config: TrialConfig) -> dict[str, Any]:
    """The flat values of `config`, with images per optimizer step in place of micro-batch size and accumulation steps.

    Two configurations with equal values train the same trial: one that ran out of memory continues with smaller
    micro-batches. The result is not a `TrialConfig`, because `train.accumulation_steps` has a limit that the number of
    images per step may exceed.
    """
    values = config.flat()
    images = values.pop("train.micro_batch_size") * values.pop("train.accumulation_steps")
    return values | {"images_a_step": images}


def read_state(folder: Path) -> dict[str, Any]:
    """The contents of `state.json`, once all files of the checkpoint match their checksums.

    Raises:
        CheckpointError: the folder is incomplete or damaged.
    """
    try:
        state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        damaged = [name for name, wanted in state["sha256"].items() if sha256(folder / name) != wanted]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder}: the checkpoint is incomplete ({error}). Use the one before it.") from error
    if damaged:
        raise CheckpointError(f"{folder}: {', '.join(damaged)} is damaged (checksum differs). Use the one before it.")
    return state


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
