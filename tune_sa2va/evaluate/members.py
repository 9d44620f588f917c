"""The adapters of one tuned model on one base: one, or those of an ensemble, whose probabilities are averaged.

They share one store. Each member's numbers are kept beside it and copied in for its turn, on the device.
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
    """Attached to a model until `detach`; without a member the model computes as its base."""

    def __init__(self, adapters: TrialAdapters | None, values: Sequence[Tensor]) -> None:
        self._adapters, self._values = adapters, tuple(values)

    @classmethod
    def attach(cls, model: Sa2VA, folders: Sequence[Path]) -> "Members":
        """The adapters in `folders`, of one configuration.

        Raises:
            CheckpointError: one of them is not what it should be, or they are not of one configuration.
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
                raise CheckpointError(f"{folder}: is of another configuration than {folders[0]}. Export both again.")
        return cls(adapters, values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def changes_encoders(self) -> bool:
        """Whether features that the base's encoders gave are no longer the model's own: each member has its own."""
        return self._adapters is not None and self._adapters.changes_encoders

    def enter(self, number: int) -> None:
        """Let the model compute with this member."""
        assert self._adapters is not None, "there is a member to enter"
        self._adapters.store.values.copy_(self._values[number])
        self._adapters.store.refresh()

    def enter_first(self) -> None:
        """Let the model compute with the first member, where there are several."""
        if len(self) > 1:
            self.enter(0)

    def mean_logits(
        self, logits: Callable[[], Float[Tensor, "H W"]], *, only: int | None = None
    ) -> Float[Tensor, "H W"]:
        """Logits of the mean of the members' probabilities; of one member, or of the base, what it gives itself.

        only: ask this member alone.
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
        """Give the base back as it was."""
        if self._adapters is not None:
            self._adapters.detach()
