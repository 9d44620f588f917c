"""A trial's checkpoint: the adapter, the optimizer's moments and a JSON with the rest; no pickle.

`state.json` is written last and holds the checksums of the other files, so a folder without it, or with another
content, is known to be incomplete. Random numbers are not stored: every epoch seeds its own from the trial's seed and
its number.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.adapter import save_adapter
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.optimizer import FlatAdamW

_VERSION = 1
_ADAPTER = "adapter/adapter_model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """epoch: finished epochs; step: optimizer steps done; val_dice: of the last epoch, None before the first."""

    epoch: int
    step: int
    val_dice: float | None


def save_checkpoint(
    folder: Path,
    model: Sa2VA,
    config: TrialConfig,
    parameters: Mapping[str, Tensor],
    optimizer: FlatAdamW,
    progress: Progress,
) -> None:
    """Write everything that the trial needs to go on into `folder`; after its last epoch, the adapter alone."""
    folder.mkdir(parents=True, exist_ok=True)
    save_adapter(folder / "adapter", model, parameters, config.lora, config.train.full_modules)
    files = [_ADAPTER]
    if progress.epoch < config.train.epochs:
        moments = {name: view.cpu().contiguous() for name, view in optimizer.moments(config.lora.r).items()}
        save_file(moments, folder / OPTIMIZER_FILE)
        files.append(OPTIMIZER_FILE)
    state = {
        "version": _VERSION,
        "config": config.to_dict(),
        "progress": asdict(progress),
        "sha256": {name: _sha256(folder / name) for name in files},
    }
    temporary = folder / "state.tmp"
    temporary.write_text(json.dumps(state, indent=1))
    temporary.replace(folder / "state.json")


def load_checkpoint(
    folder: Path, config: TrialConfig, parameters: Mapping[str, Tensor], optimizer: FlatAdamW
) -> Progress:
    """Put parameters and optimizer back where `save_checkpoint` left them; refresh the adapters' store afterwards.

    Raises:
        CheckpointError: the folder is incomplete or damaged, or belongs to another configuration.
    """
    state = read_state(folder)
    if objective(TrialConfig.model_validate(state["config"])) != objective(config):
        raise CheckpointError(f"{folder}: belongs to a trial of another configuration. Start the trial anew.")
    adapter, progress = load_file(folder / _ADAPTER), Progress(**state["progress"])
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(adapter[name])
    if progress.epoch < config.train.epochs:
        optimizer.load_moments(load_file(folder / OPTIMIZER_FILE), config.lora.r, steps=progress.step)
    return progress


def objective(config: TrialConfig) -> TrialConfig:
    """The configuration, however an optimizer step is cut into micro-batches: a trial that ran out of memory goes on
    with smaller ones."""
    chunk = config.train.micro_batch_size * config.train.accumulation_steps
    return config.replace({"train.micro_batch_size": 1, "train.accumulation_steps": chunk})


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint whose files are all as they were written.

    Raises:
        CheckpointError: the folder is incomplete or damaged.
    """
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        damaged = [name for name, wanted in state["sha256"].items() if _sha256(folder / name) != wanted]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder}: the checkpoint is incomplete ({error}). Use the one before it.") from error
    if damaged:
        raise CheckpointError(f"{folder}: {', '.join(damaged)} is damaged (checksum differs). Use the one before it.")
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
