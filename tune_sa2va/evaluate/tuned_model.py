"""Finds and checks the model that `--model` and `--adapter` name before any weight is loaded, then loads it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.config import DataSettings, FullModule
from tune_sa2va.errors import CheckpointError
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD
from tune_sa2va.evaluate.tuned import Tuned, read_tuned
from tune_sa2va.model.adapter import read_adapter
from tune_sa2va.model.checkpoint import load_model, outline_of
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.identity import model_hash
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.sa2va import Sa2VA


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedModel:
    """A base model with or without an adapter, not loaded yet.

    folder: of the model. adapters: folders of one adapter or of an ensemble's; empty for an untuned base.
    tuned: the record of a search's export; None for an untuned base or an adapter made by another program.
    full_modules: modules that the adapters replace in full.
    """

    folder: Path
    adapters: tuple[Path, ...]
    tuned: Tuned | None
    full_modules: tuple[FullModule, ...]

    @property
    def question(self) -> str:
        """The question used in training, with {text} in place of what is asked for."""
        return self.tuned.question if self.tuned else str(DataSettings.model_fields["question"].default)

    @property
    def answer(self) -> str:
        """The answer used in training."""
        return self.tuned.answer if self.tuned else str(DataSettings.model_fields["answer"].default)

    @property
    def threshold(self) -> float:
        """The threshold chosen on the validation part; Sa2VA's own (0.5) if none was chosen."""
        return self.tuned.threshold if self.tuned else DEFAULT_THRESHOLD

    def load_base(self, device: torch.device) -> Sa2VA:
        """The model without the adapter, in the precision that a search uses on `device`."""
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        return load_model(self.folder, device=device, dtype=dtype)

    def attach(self, model: Sa2VA) -> Members:
        """Attaches the adapters, if any, to the model that `load_base` returned."""
        return Members.attach(model, self.adapters)


def find_tuned(model: str, adapter: Path | None, *, any_base: bool) -> TunedModel:
    """The model that `--model` and `--adapter` name. any_base: accept an adapter that was made for another base.

    Raises:
        CheckpointError: one of them is damaged or of the wrong kind, or they do not belong together.
        UserError: the adapter's modules cannot be trained here.
    """
    folder = model_folder(model)
    if adapter is None:
        read_dims(folder)
        tuned = read_tuned(folder)
        return TunedModel(folder=folder, adapters=(), tuned=tuned if tuned and tuned.merged else None, full_modules=())
    tuned = read_tuned(adapter)
    if tuned is not None and tuned.merged:
        raise CheckpointError(f"--adapter {adapter}: is a merged checkpoint. Give it as --model, without --adapter.")
    if tuned is not None and not any_base:
        _check_base(model, folder, adapter, tuned)
    adapters = (adapter,) if tuned is None else tuned.members(adapter)
    (full_modules, *_) = [read_adapter(outline_of(folder), one).full_modules for one in adapters]
    return TunedModel(folder=folder, adapters=adapters, tuned=tuned, full_modules=full_modules)


def the_device() -> torch.device:
    """The current GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _check_base(model: str, folder: Path, adapter: Path, tuned: Tuned) -> None:
    """Compares hashes of the base: another base of the same shapes would load, but give masks that were not measured.

    Raises:
        CheckpointError: the adapter was made for another base.
    """
    found = model_hash(folder)
    if found != tuned.base_model.sha256:
        raise CheckpointError(
            f"--adapter {adapter}: was made for the base {tuned.base_model.id!r} (SHA-256 "
            f"{tuned.base_model.sha256[:12]}...), but --model {model} is another ({found[:12]}...). "
            "Give the adapter's own base, or --any-base to use it anyway."
        )
