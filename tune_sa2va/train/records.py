"""What an epoch leaves behind."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """Means over the epoch's training images or optimizer steps, and scores of the validation part after it.

    Scores are means over images on their own pixels at threshold 0.5. `train_dice` is taken while the weights move.
    `it_per_s` counts images of this worker; `peak_gib` is what the allocator held of the device
    at most, 0 on a CPU (tensors inside a replayed CUDA graph are in no other count). `micro_batch_size`: images a
    forward, fewer than the trial's configuration asks for where memory ran out. `folds`: adapters that the epoch
    trained; the scores are of their validation images, each predicted by the one adapter that was not trained on it.
    `folds_left`: those that were not trained, because the trial was given up in mid-epoch.
    """

    epoch: int
    train_loss: float
    train_loss_dice: float
    train_loss_focal: float
    train_loss_bce: float
    train_loss_lm: float
    train_loss_cldice: float
    train_loss_focal_tversky: float
    lr: float
    grad_norm: float
    train_dice: float
    val_dice: float
    val_iou: float
    val_recall: float
    val_precision: float
    it_per_s: float
    seconds: float
    train_seconds: float
    val_seconds: float
    peak_gib: float
    micro_batch_size: int = 1
    folds: int = 1
    folds_left: int = 0
    warning: str = ""
