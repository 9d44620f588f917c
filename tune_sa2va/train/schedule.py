"""The learning rate of each optimizer step."""

import math

from tune_sa2va.config import OptimizerSettings


def learning_rate(step: int, total_steps: int, settings: OptimizerSettings) -> float:
    """Linear warm-up to `lr`, then a cosine decay towards 0 over the remaining steps.

    step: from 0 to `total_steps` - 1; the rate is above 0 for each of them.
    """
    warmup_steps = int(settings.warmup_fraction * total_steps)
    if step < warmup_steps:
        return settings.lr * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))
