"""The same optimizer step in smaller micro-batches, for a trial that ran out of memory."""

from pydantic import ValidationError

from tune_sa2va.config import TrialConfig


def halved(config: TrialConfig) -> TrialConfig | None:
    """`config` with half the images a forward and twice the forwards a step.

    None where that cannot be: an odd micro-batch, or more forwards than `train.accumulation_steps` may have.
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
