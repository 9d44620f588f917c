"""What a checkpoint's `state.json` says, and whether the files beside it are those that were written.

Without torch: the owner of a lane looks at checkpoints, and leaves what is in them to the workers.
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
    """epoch: finished epochs; step: optimizer steps done; val_dice: of the last epoch, None before the first."""

    epoch: int
    step: int
    val_dice: float | None


def objective(config: TrialConfig) -> dict[str, Any]:
    """What a trial aims at, however an optimizer step is cut into micro-batches: one that ran out of memory goes on
    with smaller ones.

    No `TrialConfig`: `train.accumulation_steps` may not be as many as a step can have images.
    """
    values = config.flat()
    images = values.pop("train.micro_batch_size") * values.pop("train.accumulation_steps")
    return values | {"images_a_step": images}


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint whose files are all as they were written.

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
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
