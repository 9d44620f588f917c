"""The record of an epoch, and of the pace with some number of seats."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """Means over the epoch's training images or optimizer steps, and scores of the validation part after it.

    train_loss, train_loss_*: means over images; `train_loss` is the weighted sum, the parts are unweighted.
    lr: learning rate of the last optimizer step. grad_norm: mean over steps of the norm before clipping.
    train_dice: measured during training, while the weights change.
    val_*: means over images in [0, 1], each at its original resolution and at threshold 0.5.
    it_per_s: training images per second of this worker.
    peak_gib: most memory that the allocator reserved on the device; 0 on a CPU. (Other counters do not see tensors
        inside a replayed CUDA graph.)
    micro_batch_size: images per forward pass; fewer than the trial's configuration asks for if memory ran out.
    seated: trials that shared the steps, this one included; of a trial with folds, the mean over the time of all folds.
        `seconds` divided by it is the trial's share of its lane's time.
    folds: adapters that the epoch trained. Each validation image is predicted by the one adapter not trained on it.
    folds_left: folds that were not trained because the trial was given up in mid-epoch.
    warning: what was unusual about the epoch; empty if nothing was.
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
    seated: float = 1.0
    folds: int = 1
    folds_left: int = 0
    warning: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeatPace:
    """What a lane measured with all of its seats taken.

    it_per_s: training images per second of this worker, summed over seats.
    peak_gib: most memory that the allocator reserved in the timed steps. estimate_gib: the same, as `train.memory`
        estimates it. Both are 0 on a CPU.
    """

    seats: int
    it_per_s: float
    peak_gib: float
    estimate_gib: float
