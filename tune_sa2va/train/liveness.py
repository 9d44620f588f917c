"""Checks that training takes effect: every matrix gets a gradient, the weights change, and validation is not frozen.

This guards against a real bug: an earlier training script ran its forward pass under `no_grad`, so its parameters never
changed and Val Dice stayed the same to the last digit for fifteen epochs. Three steps are enough to detect this.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tune_sa2va.errors import DeadGradientError

STEPS_TO_PROVE = 3
"""B starts at zero, so A has no gradient until B has changed: the first step proves B, the second A."""


class Liveness:
    """Watches the first steps of a trial. A resumed trial is not watched, as it was when it started.

    Only LoRA matrices are watched: a module trained in full also holds tensors that the loss does not reach (SAM2's IoU
    head, the weights of masks that are not used).
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        parameters = {name: parameter for name, parameter in parameters.items() if ".lora_" in name}
        self._parameters = parameters
        self._before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self._unproven = set(parameters)

    def before_step(self, step: int, gradients: Mapping[str, Tensor]) -> None:
        """Checks the gradients that optimizer step number `step`, from 0, is about to use."""
        if step >= STEPS_TO_PROVE or not self._unproven:
            return
        names = sorted(self._unproven)
        norms = torch.stack(torch._foreach_norm([gradients[name] for name in names])).tolist()
        self._unproven -= {name for name, norm in zip(names, norms, strict=True) if norm != 0}

    def after_step(self, step: int) -> None:
        """Checks the weights once `STEPS_TO_PROVE` steps are done.

        Raises:
            DeadGradientError: some matrices had no gradient in these steps, or did not change. Names up to five.
        """
        if step != STEPS_TO_PROVE - 1:
            return
        still = [name for name, parameter in self._parameters.items() if torch.equal(parameter, self._before[name])]
        self._before.clear()
        if dead := sorted(self._unproven | set(still)):
            raise DeadGradientError(
                f"{len(dead)} of {len(self._parameters)} trained tensors got no gradient or did not move in the first "
                f"{STEPS_TO_PROVE} steps: {', '.join(dead[:5])}{' ...' if len(dead) > 5 else ''}. "
                "Leave these modules out of lora.target_modules."
            )


def frozen_validation(previous: float | None, current: float, *, moved: bool) -> str:
    """A warning if Val Dice is the same to the last digit as in the previous epoch, otherwise an empty string.

    previous: None before the first epoch. moved: whether the trained tensors changed during the epoch.

    Raises:
        DeadGradientError: Val Dice is the same, and the trained tensors did not change.
    """
    if previous is None or previous != current:
        return ""
    if not moved:
        raise DeadGradientError(f"Val Dice is exactly {current} for the second epoch and no trained tensor has moved.")
    return f"Val Dice is exactly {current} for the second epoch, though the adapter moved"
