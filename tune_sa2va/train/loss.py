"""ComboLoss: Dice, focal and binary cross entropy on full-size mask logits, each part per image.

Every function takes any leading dimensions (images, or adapters x images) and reduces the last two, H and W. `valid` is
True on the pixels that count, for images of several sizes on one canvas; None means all.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


class LossWeights(Protocol):
    """The numbers of `LossSettings`: plain ones, or 0-dim tensors that change under a captured graph."""

    @property
    def dice(self) -> float | Tensor: ...
    @property
    def focal(self) -> float | Tensor: ...
    @property
    def bce(self) -> float | Tensor: ...
    @property
    def focal_alpha(self) -> float | Tensor: ...
    @property
    def focal_gamma(self) -> float | Tensor: ...


class LossParts(NamedTuple):
    """Unweighted parts and their weighted sum, one value an image."""

    total: Float[Tensor, "*B"]
    dice: Float[Tensor, "*B"]
    focal: Float[Tensor, "*B"]
    bce: Float[Tensor, "*B"]


def combo_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    weights: LossWeights,
    valid: Bool[Tensor, "*B H W"] | None = None,
) -> LossParts:
    """The weighted sum and its parts. `truth` is 0 or 1 in the dtype of the logits, on the same pixel grid."""
    dice = dice_loss(mask_logits, truth, valid)
    focal = focal_loss(mask_logits, truth, valid, alpha=weights.focal_alpha, gamma=weights.focal_gamma)
    bce = bce_loss(mask_logits, truth, valid)
    total = weights.dice * dice + weights.focal * focal + weights.bce * bce
    return LossParts(total, dice, focal, bce)


def dice_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
) -> Float[Tensor, "*B"]:
    """1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), in [0, 1] (V-Net, arXiv 1606.04797; plain sums, smoothing 1).

    The smoothing makes an empty truth with an empty prediction a loss of 0.
    """
    prob = mask_logits.sigmoid()
    if valid is not None:
        prob = prob * valid
    overlap = (prob * truth).sum(dim=(-2, -1))
    sizes = prob.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (sizes + 1)


def focal_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    alpha: float | Tensor,
    gamma: float | Tensor,
) -> Float[Tensor, "*B"]:
    """Mean over pixels of -alpha_t (1 - p_t)^gamma log(p_t) (arXiv 1708.02002, equation 5).

    alpha_t is alpha on vessel pixels and 1 - alpha on the rest: alpha balances the classes. (The user's earlier script
    multiplied both alike, which balances nothing.)
    """
    log_p = F.logsigmoid(mask_logits)
    log_not_p = F.logsigmoid(-mask_logits)
    # (1 - p_t)^gamma as exp(gamma log(1 - p_t)): a power of 0 would have no finite gradient for gamma < 1.
    on_vessel = -alpha * torch.exp(gamma * log_not_p) * log_p
    on_rest = -(1 - alpha) * torch.exp(gamma * log_p) * log_not_p
    return _mean(truth * on_vessel + (1 - truth) * on_rest, valid)


def bce_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
) -> Float[Tensor, "*B"]:
    """Mean binary cross entropy over pixels, from logits."""
    return _mean(F.binary_cross_entropy_with_logits(mask_logits, truth, reduction="none"), valid)


def _mean(pixels: Float[Tensor, "*B H W"], valid: Bool[Tensor, "*B H W"] | None) -> Float[Tensor, "*B"]:
    if valid is None:
        return pixels.mean(dim=(-2, -1))
    return (pixels * valid).sum(dim=(-2, -1)) / valid.sum(dim=(-2, -1))
