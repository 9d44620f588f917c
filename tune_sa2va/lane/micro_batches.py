"""The same optimizer step in smaller micro-batches, for a trial that ran out of memory."""

from pydantic import ValidationError

from tune_sa2va.config import TrialConfig


def halved(config: TrialConfig) -> TrialConfig | None:
    """`config` with half the images per forward pass and twice the forward passes per step.

    None if that is impossible: the micro-batch is odd, or `train.accumulation_steps` would exceed its limit.
    """
    train = config.train
    if train.micro_batch_size % 2:
        return None
    try:
        return config.replace(
            {
                "train.micro_batch_size": train.micro_batch_size // 2,
                "train.accumulation_steps": train.accumulation_steps * 2,
            }
        )
    except ValidationError:
        return None
