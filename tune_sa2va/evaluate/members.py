"""The adapters of one tuned model on one base: a single one, or an ensemble whose probabilities are averaged.

They share one store. Each member's values are kept on the device and copied into the store when it is used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.adapter import load_adapter
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA


class Members:
    """Attached to a model until `detach`. Without members the model computes as the base does."""

    def __init__(self, adapters: TrialAdapters | None, values: Sequence[Tensor]) -> None:
        self._adapters, self._values = adapters, tuple(values)

    @classmethod
    def attach(cls, model: Sa2VA, folders: Sequence[Path]) -> "Members":
        """Attaches the adapters in `folders`, all of one configuration, to `model`. The last one is active.

        Raises:
            CheckpointError: an adapter is damaged, or they are not all of one configuration.
        """
        values: list[Tensor] = []
        adapters = None
        for folder in folders:
            if adapters is not None:
                adapters.detach()
            adapters = load_adapter(model, folder)
            values.append(adapters.store.values.clone())
            if values[0].shape != values[-1].shape:
                adapters.detach()
                raise CheckpointError(f"{folder}: has another configuration than {folders[0]}. Export both again.")
        return cls(adapters, values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def changes_encoders(self) -> bool:
        """Whether the adapters change the image encoders, so that the base's features cannot be used. Each member then
        has features of its own."""
        return self._adapters is not None and self._adapters.changes_encoders

    def enter(self, number: int) -> None:
        """Makes the model compute with this member, counted from 0."""
        assert self._adapters is not None, "there is a member to enter"
        self._adapters.store.values.copy_(self._values[number])
        self._adapters.store.refresh()

    def enter_first(self) -> None:
        """Makes the model compute with the first member, if there are several."""
        if len(self) > 1:
            self.enter(0)

    def mean_logits(
        self, logits: Callable[[], Float[Tensor, "H W"]], *, only: int | None = None
    ) -> Float[Tensor, "H W"]:
        """The logits of the mean of all members' probabilities. With one member or none, simply `logits()`.

        logits: computes mask logits with the member that is active. only: use this member alone.
        """
        if len(self) < 2:
            return logits()
        if only is not None:
            self.enter(only)
            return logits()
        probabilities = []
        for number in range(len(self)):
            self.enter(number)
            probabilities.append(torch.sigmoid(logits()))
        return torch.logit(torch.stack(probabilities).mean(dim=0))

    def detach(self) -> None:
        """Detaches the adapters, which leaves the base as it was."""
        if self._adapters is not None:
            self._adapters.detach()
