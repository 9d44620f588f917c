"""What `--model` and `--adapter` name, checked before any weight is loaded, and then the model itself."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.config import DataSettings, FullModule
from tune_sa2va.errors import CheckpointError
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD
from tune_sa2va.evaluate.tuned import Tuned, read_tuned
from tune_sa2va.model.adapter import load_adapter, read_adapter
from tune_sa2va.model.checkpoint import load_model, outline_of
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.identity import model_hash
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedModel:
    """A base model with or without an adapter, not loaded yet.

    folder: the model's. tuned: what the export of a search says of itself; None for a base as it is, and for an adapter
    of another program. full_modules: those that the adapter brings whole.
    """

    folder: Path
    adapter: Path | None
    tuned: Tuned | None
    full_modules: tuple[FullModule, ...]

    @property
    def question(self) -> str:
        """With {text} for what is asked for; the one that was trained on."""
        return self.tuned.question if self.tuned else str(DataSettings.model_fields["question"].default)

    @property
    def answer(self) -> str:
        """The one that was trained on."""
        return self.tuned.answer if self.tuned else str(DataSettings.model_fields["answer"].default)

    @property
    def threshold(self) -> float:
        """The one that was chosen on the validation part; Sa2VA's own where none was."""
        return self.tuned.threshold if self.tuned else DEFAULT_THRESHOLD

    def load_base(self, device: torch.device) -> Sa2VA:
        """The model without the adapter, in the precision in which a search runs on such a device."""
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        return load_model(self.folder, device=device, dtype=dtype)

    def attach(self, model: Sa2VA) -> TrialAdapters | None:
        """Put the adapter, where there is one, on what `load_base` gave."""
        return None if self.adapter is None else load_adapter(model, self.adapter)


def find_tuned(model: str, adapter: Path | None, *, any_base: bool) -> TunedModel:
    """What a user's `--model` and `--adapter` name. any_base: take an adapter that says it was made for another base.

    Raises:
        CheckpointError: one of them is not what it should be, or they do not belong together.
        UserError: the adapter's modules cannot be trained here.
    """
    folder = model_folder(model)
    if adapter is None:
        read_dims(folder)
        tuned = read_tuned(folder)
        return TunedModel(folder=folder, adapter=None, tuned=tuned if tuned and tuned.merged else None, full_modules=())
    tuned = read_tuned(adapter)
    if tuned is not None and tuned.merged:
        raise CheckpointError(f"--adapter {adapter}: is a whole merged checkpoint. Give it as --model, alone.")
    if tuned is not None and not any_base:
        _check_base(model, folder, adapter, tuned)
    full_modules = read_adapter(outline_of(folder), adapter).full_modules
    return TunedModel(folder=folder, adapter=adapter, tuned=tuned, full_modules=full_modules)


def the_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _check_base(model: str, folder: Path, adapter: Path, tuned: Tuned) -> None:
    """Shapes do not tell: another training of the base fits, and gives masks that nobody measured."""
    found = model_hash(folder)
    if found != tuned.base_model.sha256:
        raise CheckpointError(
            f"--adapter {adapter}: was made for the base {tuned.base_model.id!r} (SHA-256 "
            f"{tuned.base_model.sha256[:12]}...), but --model {model} is another ({found[:12]}...). "
            "Give the adapter's own base, or --any-base to go on all the same."
        )
