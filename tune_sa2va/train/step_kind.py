"""What trials must have in common to share a step, as far as their configurations tell. Imports no model."""

from collections.abc import Hashable

from tune_sa2va.config import TrialConfig

KIND_FIELDS = (
    *("lora.target_modules", "train.full_modules", "encoder.sam2", "encoder.vision"),
    *("train.micro_batch_size", "train.accumulation_steps", "data.strength"),
)
"""The fields of a configuration that decide its kind."""


def step_kind(config: TrialConfig) -> Hashable:
    """Equal for trials that may share a step: the same modules, and steps of as many images, augmented alike.

    An engine may still have no seat for one of them, since it knows the sizes of its storage, too (`Engine.has_seat`).
    """
    train, encoder = config.train, config.encoder
    modules = config.lora.target_modules, train.full_modules, encoder.sam2, encoder.vision
    has_views = config.data.strength > 0 and (config.runs_sam2 or config.runs_vision)
    return modules, train.micro_batch_size, train.accumulation_steps, has_views


def sits_alone(config: TrialConfig) -> bool:
    """Whether the trial shares its steps with no other: the neck is not run as a module (see `model.hiera`), so it has
    no weights by seat."""
    return "neck" in config.train.full_modules
