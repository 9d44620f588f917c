"""The learning rate of each optimizer step."""

import math

from tune_sa2va.config import OptimizerSettings


def learning_rate(step: int, total_steps: int, settings: OptimizerSettings) -> float:
    """Linear warm-up, then a cosine from `lr` towards 0 over the rest. `step` counts from 0; never exactly 0."""
    warmup_steps = int(settings.warmup_fraction * total_steps)
    if step < warmup_steps:
        return settings.lr * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))
