"""A trial's checkpoint: the adapter, the optimizer's moments and a JSON file with the rest; no pickle.

`state.json` is written last and holds the checksums of the other files. So a folder without it is known to be
incomplete, and one whose files do not match is known to be damaged. The state of random number generators is not
stored: every epoch seeds them from the trial's seed and the epoch's number.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from tune_sa2va.train.host_memory import HostMemory
from tune_sa2va.train.optimizer import FlatAdamW

_VERSION = 1

_AT_A_TIME = 4
"""Most checkpoints that are written at the same time. Each has a copy in host memory meanwhile."""

Finish = Callable[[], None]
"""Waits until a checkpoint is written. Raises OSError if the disk is full, or cannot be written."""


class CheckpointWriter:
    """Writes the checkpoints of a lane's trials. Training waits for it, so it reuses its host memory and threads.

    At r = 64, a checkpoint of the 8B model has 0.5 GB: allocating new memory for its copy would cost 0.3 s, and
    computing the checksums of its two files one after the other 0.5 s. Those of trials that sit together, and of the
    folds of a trial, are written at the same time.
    """

    def __init__(self, model: Sa2VA) -> None:
        self._model = model
        self._device = model.no_mem_embed.device
        self._memory = HostMemory(_AT_A_TIME, pinned=self._device.type == "cuda")
        self._checkpoints = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="checkpoint")
        self._files = ThreadPoolExecutor(2 * _AT_A_TIME, thread_name_prefix="checkpoint-file")

    def begin(
        self,
        folder: Path,
        config: TrialConfig,
        parameters: Mapping[str, Tensor],
        optimizer: FlatAdamW,
        progress: Progress,
        *,
        seat: int = 0,
    ) -> Finish:
        """Begins to write everything that the trial needs to continue into `folder`; after its last epoch, only the
        adapter. The tensors are copied before it returns. Waits for another checkpoint if many are being written.

        parameters: the trained tensors by their names in the adapter file. seat: the trial's; the files do not tell it.
        """
        goes_on = progress.epoch < config.train.epochs
        moments = optimizer.moments(config.lora.r, config.encoder.r, seat=seat) if goes_on else {}
        tensors = {**parameters, **moments}
        piece = self._memory.take(sum(tensor.numel() for tensor in tensors.values()))
        try:
            copies = self._to_host(tensors, piece.values)
        except BaseException:
            self._memory.give_back(piece)
            raise

        def write_adapter() -> str:
            adapter = {name: copies[name] for name in parameters}
            save_adapter(
                folder / "adapter", self._model, adapter, config.lora, config.train.full_modules,
                encoder=config.encoder,
            )  # fmt: skip
            return sha256(folder / ADAPTER_FILE)

        def write_optimizer() -> str:
            save_file({name: copies[name] for name in moments}, folder / OPTIMIZER_FILE)
            return sha256(folder / OPTIMIZER_FILE)

        def write() -> None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                writers = {ADAPTER_FILE: write_adapter} | ({OPTIMIZER_FILE: write_optimizer} if goes_on else {})
                sums = {name: self._files.submit(write_file) for name, write_file in writers.items()}
                wait(sums.values())
            finally:
                self._memory.give_back(piece)
            _write_state(folder, config, progress, {name: found.result() for name, found in sums.items()})

        return self._checkpoints.submit(write).result

    def _to_host(self, tensors: Mapping[str, Tensor], memory: Tensor) -> dict[str, Tensor]:
        """Copies of `tensors`, in fp32, in memory of the host."""
        is_cuda = self._device.type == "cuda"
        sizes = [tensor.numel() for tensor in tensors.values()]
        pieces = memory[: sum(sizes)].split(sizes)
        copies = {}
        for (name, tensor), piece in zip(tensors.items(), pieces, strict=True):
            # Made contiguous on the device first: copying row by row is slow.
            copies[name] = piece.view(tensor.shape).copy_(tensor.detach().contiguous(), non_blocking=is_cuda)
        if is_cuda:
            torch.cuda.current_stream(self._device).synchronize()
        return copies


def fold_folder(folder: Path, number: int) -> Path:
    """The folder of fold `number`, from 0, inside the checkpoint of a trial with folds."""
    return folder / f"fold_{number}"


def write_folds(folder: Path, config: TrialConfig, progress: Progress, *, folds: int, of: int) -> None:
    """Completes a checkpoint whose folds are already written: its `state.json` has the checksums of all their files.

    folds: number of folds written, out of `of`. They are fewer if the epoch ended early; such a checkpoint cannot be
        resumed.
    """
    sums = {}
    for number in range(folds):
        own = fold_folder(folder, number)
        sums[f"{own.name}/{STATE_FILE}"] = sha256(own / STATE_FILE)
        sums |= {
            f"{own.name}/{name}": found
            for name, found in json.loads((own / STATE_FILE).read_text(encoding="utf-8"))["sha256"].items()
        }
    _write_state(folder, config, progress, sums, folds={"done": folds, "of": of})


def read_folds(folder: Path, config: TrialConfig, *, folds: int) -> Progress:
    """The progress of a trial of `folds` folds that resumes from `folder`. Each fold then loads its own checkpoint.

    Raises:
        CheckpointError: the folder is incomplete or damaged, or belongs to another configuration or other folds.
    """
    state = _state_of(folder, config)
    if state.get("folds") != {"done": folds, "of": folds}:
        raise CheckpointError(f"{folder}: is not a checkpoint of a trial with {folds} folds. Start the trial again.")
    return Progress(**state["progress"])


def load_checkpoint(
    folder: Path, config: TrialConfig, parameters: Mapping[str, Tensor], optimizer: FlatAdamW, *, seat: int = 0
) -> Progress:
    """Restores parameters and optimizer as `CheckpointWriter` saved them, in any seat. Refresh the adapter store
    afterwards.

    Raises:
        CheckpointError: the folder is incomplete or damaged, or belongs to another configuration.
    """
    state = _state_of(folder, config)
    adapter, progress = load_file(folder / ADAPTER_FILE), Progress(**state["progress"])
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(adapter[name])
    if progress.epoch < config.train.epochs:
        moments = load_file(folder / OPTIMIZER_FILE)
        optimizer.load_moments(moments, config.lora.r, config.encoder.r, steps=progress.step, seat=seat)
    return progress


def _state_of(folder: Path, config: TrialConfig) -> dict[str, Any]:
    """The state of an undamaged checkpoint of `config`. Raises CheckpointError if it is damaged or of another one."""
    state = read_state(folder)
    if objective(TrialConfig.model_validate(state["config"])) != objective(config):
        raise CheckpointError(f"{folder}: belongs to a trial of another configuration. Start the trial again.")
    return state


def _write_state(
    folder: Path, config: TrialConfig, progress: Progress, sums: Mapping[str, str], **more: object
) -> None:
    """Writes `state.json` atomically, by rename. sums: SHA-256 of the checkpoint's other files, by relative path."""
    state = {"version": _VERSION, "config": config.to_dict(), "progress": asdict(progress), "sha256": sums} | more
    temporary = folder / "state.tmp"
    temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
    temporary.replace(folder / STATE_FILE)
