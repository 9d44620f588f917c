"""The pretraining objective: losses of all three masks, of the predicted IoU that selects one, and of the answer."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tune_sa2va.model.prompt import IGNORE_INDEX
from tune_sa2va.model.sa2va import MaskOutput, Sa2VA
from tune_sa2va.model.upsample import to_image_size
from tune_sa2va.train.loss import bce_loss, dice_loss

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Objective(NamedTuple):
    """Scalars: the sum that is minimised, its parts, and the Dice of the chosen mask."""

    total: Tensor
    mask: Tensor
    iou: Tensor
    answer: Tensor
    dice: Tensor


def encoder_batch(
    pictures: Float[Tensor, "B 3 G G"], tile_size: int
) -> tuple[Float[Tensor, "B 3 P P"], Float[Tensor, "B 3 G G"]]:
    """`pixel_values` and `g_pixel_values` of pictures in [0, 1] at SAM2's size: one tile each, made on the device."""
    tiles = F.interpolate(pictures, (tile_size, tile_size), mode="bicubic", antialias=True, align_corners=False)
    return _normalise(tiles.clamp(0, 1)), _normalise(pictures)


def forward(
    model: Sa2VA,
    pixel_values: Float[Tensor, "B 3 P P"],
    g_pixel_values: Float[Tensor, "B 3 G G"],
    input_ids: Int[Tensor, "B T"],
    seg_positions: Int[Tensor, " B"],
    image_start: int,
) -> tuple[MaskOutput, Float[Tensor, "B T D"]]:
    """The masks and the last hidden states of a forward pass through the whole model."""
    image_tokens = model.encode_tiles(pixel_values)
    embed, high_res_1, high_res_0 = model.encode_sam(g_pixel_values)
    hidden = model.hidden_states(model.embed_text(input_ids, image_tokens, image_start))
    masks = model.decode_masks(embed, high_res_1, high_res_0, model.seg_embeddings(hidden, seg_positions))
    return masks, hidden


def objective(
    model: Sa2VA,
    masks: MaskOutput,
    hidden: Float[Tensor, "B T D"],
    truth: Float[Tensor, "B G G"],
    labels: Int[Tensor, "B T"],
) -> Objective:
    """The sum of three losses, with its parts.

    mask: Dice + 2 x BCE, half of it for the best mask and half averaged over all three. iou: 4 x the squared error of
    the predicted IoUs. answer: half the cross entropy of the answer.
    """
    batch, side = truth.shape[0], model.dims.sam2.image_size
    logits = to_image_size(masks.mask_logits.flatten(0, 1), sam_side=side, height=side, width=side)
    logits = logits.view(batch, -1, side, side)
    truth_3 = truth[:, None].expand_as(logits)
    each = dice_loss(logits, truth_3) + 2 * bce_loss(logits, truth_3)
    mask_loss = 0.5 * each.amin(dim=1).mean() + 0.5 * each.mean()

    with torch.no_grad():
        hit = ((logits > 0) & (truth_3 > 0.5)).sum(dim=(2, 3)).float()
        predicted, wanted = (logits > 0).sum(dim=(2, 3)).float(), truth_3.sum(dim=(2, 3))
        iou_truth = hit / (predicted + wanted - hit).clamp(min=1)
        chosen = masks.iou_scores.argmax(dim=1, keepdim=True)
        dice = (2 * hit / (predicted + wanted).clamp(min=1)).gather(1, chosen).mean()
    iou_loss = 4 * (masks.iou_scores.float() - iou_truth).square().mean()

    answer_logits = model.language_model.lm_head(hidden[:, :-1]).float()
    answer_loss = 0.5 * F.cross_entropy(answer_logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX)
    return Objective(mask_loss + iou_loss + answer_loss, mask_loss, iou_loss, answer_loss, dice)


def _normalise(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    mean = torch.tensor(_MEAN, device=pictures.device).view(3, 1, 1)
    std = torch.tensor(_STD, device=pictures.device).view(3, 1, 1)
    return (pictures - mean) / std
