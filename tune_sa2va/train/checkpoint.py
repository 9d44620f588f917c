"""A trial's checkpoint: the adapter, the optimizer's moments and a JSON with the rest; no pickle.

`state.json` is written last and holds the checksums of the other files, so a folder without it, or with another
content, is known to be incomplete. Random numbers are not stored: every epoch seeds its own from the trial's seed and
its number.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.adapter import save_adapter
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.checkpoint_state import (
    ADAPTER_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Progress,
    objective,
    read_state,
    sha256,
)
from tune_sa2va.train.optimizer import FlatAdamW

_VERSION = 1


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

    def write_adapter() -> str:
        save_adapter(folder / "adapter", model, parameters, config.lora, config.train.full_modules)
        return sha256(folder / ADAPTER_FILE)

    def write_optimizer() -> str:
        moments = {name: view.cpu().contiguous() for name, view in optimizer.moments(config.lora.r).items()}
        save_file(moments, folder / OPTIMIZER_FILE)
        return sha256(folder / OPTIMIZER_FILE)

    writers = {ADAPTER_FILE: write_adapter}
    if progress.epoch < config.train.epochs:
        writers[OPTIMIZER_FILE] = write_optimizer
    with ThreadPoolExecutor() as threads:  # training waits, mostly for the checksums: 0.5 s of 0.5 GB, one by one
        sums = {name: threads.submit(write) for name, write in writers.items()}
    state = {
        "version": _VERSION,
        "config": config.to_dict(),
        "progress": asdict(progress),
        "sha256": {name: found.result() for name, found in sums.items()},
    }
    temporary = folder / "state.tmp"
    temporary.write_text(json.dumps(state, indent=1))
    temporary.replace(folder / STATE_FILE)


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
    adapter, progress = load_file(folder / ADAPTER_FILE), Progress(**state["progress"])
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(adapter[name])
    if progress.epoch < config.train.epochs:
        optimizer.load_moments(load_file(folder / OPTIMIZER_FILE), config.lora.r, steps=progress.step)
    return progress
