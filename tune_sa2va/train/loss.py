"""ComboLoss: Dice, focal and cross entropy, optionally soft-clDice and focal Tversky, on full-size mask logits.

Each part is per image: every function takes any leading dimensions (images, or adapters x images) and reduces the last
two, H and W. `valid` is True on the pixels that count, for images of several sizes on one canvas; None means all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_EROSIONS = 10
"""Iterations of a soft skeleton."""
_LEAST = 1e-6


class LossWeights(Protocol):
    """The numbers of `LossSettings`: plain ones, or tensors whose values may change between replays of a graph. These
    are 0-dim, or have a number for each image.

    cldice, focal_tversky: if None or a plain 0, their part is not computed.
    """

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
    @property
    def cldice(self) -> float | Tensor | None: ...
    @property
    def focal_tversky(self) -> float | Tensor | None: ...
    @property
    def focal_tversky_alpha(self) -> float | Tensor: ...
    @property
    def focal_tversky_beta(self) -> float | Tensor: ...
    @property
    def focal_tversky_gamma(self) -> float | Tensor: ...


class Skeletons(NamedTuple):
    """Soft skeletons of the predicted probabilities and of the truth, in [0, 1]."""

    of_prediction: Float[Tensor, "*B H W"]
    of_truth: Float[Tensor, "*B H W"]


class LossParts(NamedTuple):
    """The weighted sum and the unweighted parts, one value per image; 0 for a part that is not computed."""

    total: Float[Tensor, "*B"]
    dice: Float[Tensor, "*B"]
    focal: Float[Tensor, "*B"]
    bce: Float[Tensor, "*B"]
    cldice: Float[Tensor, "*B"]
    focal_tversky: Float[Tensor, "*B"]


def combo_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    weights: LossWeights,
    valid: Bool[Tensor, "*B H W"] | None = None,
    skeletons: Skeletons | None = None,
) -> LossParts:
    """The weighted sum and its parts. `truth` is 0 or 1 in the dtype of the logits, on the same pixel grid.

    skeletons: of these logits and this truth; None: computed here if a part needs them.
    """
    dice = dice_loss(mask_logits, truth, valid)
    focal = focal_loss(mask_logits, truth, valid, alpha=weights.focal_alpha, gamma=weights.focal_gamma)
    bce = bce_loss(mask_logits, truth, valid)
    total = weights.dice * dice + weights.focal * focal + weights.bce * bce
    cldice, tversky = torch.zeros_like(total), torch.zeros_like(total)
    if _is_on(weights.cldice):
        cldice = cldice_loss(mask_logits, truth, valid, skeletons)
        total = total + weights.cldice * cldice
    if _is_on(weights.focal_tversky):
        tversky = focal_tversky_loss(
            mask_logits, truth, valid,
            alpha=weights.focal_tversky_alpha, beta=weights.focal_tversky_beta, gamma=weights.focal_tversky_gamma,
        )  # fmt: skip
        total = total + weights.focal_tversky * tversky
    return LossParts(total, dice, focal, bce, cldice, tversky)


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

    alpha_t is alpha on vessel pixels and 1 - alpha on the rest, so alpha balances the classes. (Some implementations
    multiply both by alpha, which balances nothing.)
    """
    alpha, gamma = _per_pixel(alpha), _per_pixel(gamma)
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


def focal_tversky_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    gamma: float | Tensor,
) -> Float[Tensor, "*B"]:
    """(1 - TI)^(1 / gamma), in [0, 1] (arXiv 1810.07842, equation 4), of the vessel class.

    TI = (sum(p y) + 1) / (sum(p y) + alpha sum((1 - p) y) + beta sum(p (1 - y)) + 1) is the Tversky index of its
    equation 3, smoothed by 1 as `dice_loss` is; alpha weighs missed vessel. alpha = beta = 0.5 and gamma = 1 give Dice
    (with a smoothing of 2 there).
    """
    prob = mask_logits.sigmoid()
    if valid is not None:
        prob = prob * valid
    overlap = (prob * truth).sum(dim=(-2, -1))
    missed = truth.sum(dim=(-2, -1)) - overlap
    wrong = prob.sum(dim=(-2, -1)) - overlap
    index = (overlap + 1) / (overlap + alpha * missed + beta * wrong + 1)
    # For a perfect prediction the slope of the root would be infinite.
    return (1 - index).clamp(min=_LEAST) ** (1 / gamma)


def cldice_loss(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    skeletons: Skeletons | None = None,
) -> Float[Tensor, "*B"]:
    """1 - soft-clDice, in [0, 1] (arXiv 2003.07311, algorithm 2).

    With soft skeletons S of the probabilities p and of the truth y: precision (sum(S(p) y) + 1) / (sum(S(p)) + 1),
    sensitivity (sum(S(y) p) + 1) / (sum(S(y)) + 1), and clDice is their harmonic mean; smoothing 1 as in the authors'
    code. If both p and y are empty, the loss is 0. skeletons: S(p) and S(y); None: computed here.
    """
    prob = mask_logits.sigmoid()
    if valid is not None:
        prob = prob * valid
    of_prediction, of_truth = skeletons or soft_skeletons(mask_logits, truth, valid)
    precision = ((of_prediction * truth).sum(dim=(-2, -1)) + 1) / (of_prediction.sum(dim=(-2, -1)) + 1)
    sensitivity = ((of_truth * prob).sum(dim=(-2, -1)) + 1) / (of_truth.sum(dim=(-2, -1)) + 1)
    return 1 - 2 * precision * sensitivity / (precision + sensitivity)


class Thin(Protocol):
    """`thinned`, as it is or compiled."""

    def __call__(self, eroded: Tensor, skeleton: Tensor, valid: Tensor | None, /) -> tuple[Tensor, Tensor]: ...


def thinned(
    eroded: Float[Tensor, "*B H W"], skeleton: Float[Tensor, "*B H W"], valid: Bool[Tensor, "*B H W"] | None
) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B H W"]]:
    """One iteration of a soft skeleton: the image eroded once more, and the skeleton with what its opening removes."""
    image, eroded = eroded, _eroded(eroded, valid)
    left = (image - _dilated(eroded, valid)).relu()
    return eroded, skeleton + (1 - skeleton) * left


def soft_skeletons(
    mask_logits: Float[Tensor, "*B H W"],
    truth: Float[Tensor, "*B H W"],
    valid: Bool[Tensor, "*B H W"] | None = None,
    *,
    thin: Thin = thinned,
) -> Skeletons:
    """The soft skeletons of the probabilities and of the truth."""
    prob = mask_logits.sigmoid()
    if valid is not None:
        prob = prob * valid
    return Skeletons(soft_skeleton(prob, valid, thin=thin), soft_skeleton(truth, valid, thin=thin))


def soft_skeleton(
    image: Float[Tensor, "*B H W"], valid: Bool[Tensor, "*B H W"] | None = None, *, thin: Thin = thinned
) -> Float[Tensor, "*B H W"]:
    """The soft skeleton of values in [0, 1] (arXiv 2003.07311, algorithm 1), in [0, 1].

    Collects what an opening removes while the image is eroded `_EROSIONS` times, which is enough for vessels up to
    twice as many pixels wide. Minima are over a pixel and its four neighbours, maxima over 3 x 3, as in the authors'
    code. Pixels outside the image (or not `valid`) count neither as vessel nor as background.
    """
    eroded = _eroded(image, valid)
    skeleton = (image - _dilated(eroded, valid)).relu()
    for _ in range(_EROSIONS):
        eroded, skeleton = thin(eroded, skeleton, valid)
    return skeleton if valid is None else skeleton * valid


def _eroded(image: Tensor, valid: Tensor | None) -> Tensor:
    darkness = -image if valid is None else torch.where(valid, -image, -1.0)
    upright = _on_planes(F.max_pool2d, darkness, kernel_size=(3, 1), stride=1, padding=(1, 0))
    across = _on_planes(F.max_pool2d, darkness, kernel_size=(1, 3), stride=1, padding=(0, 1))
    return -torch.maximum(upright, across)


def _dilated(image: Tensor, valid: Tensor | None) -> Tensor:
    shown = image if valid is None else image * valid
    return _on_planes(F.max_pool2d, shown, kernel_size=3, stride=1, padding=1)


def _on_planes(function: Callable[..., Tensor], image: Tensor, **options: Any) -> Tensor:
    """Applies a function of (N, C, H, W) to an image with any leading dimensions."""
    found: Tensor = function(image.reshape(1, -1, *image.shape[-2:]), **options)
    return found.view(image.shape)


def _per_pixel(number: float | Tensor) -> float | Tensor:
    """A number of each image as a factor of its pixels."""
    return number[..., None, None] if isinstance(number, Tensor) and number.ndim else number


def _is_on(weight: float | Tensor | None) -> TypeGuard[float | Tensor]:
    return isinstance(weight, Tensor) or bool(weight)


def _mean(pixels: Float[Tensor, "*B H W"], valid: Bool[Tensor, "*B H W"] | None) -> Float[Tensor, "*B"]:
    if valid is None:
        return pixels.mean(dim=(-2, -1))
    return (pixels * valid).sum(dim=(-2, -1)) / valid.sum(dim=(-2, -1))
