"""One optimizer step over a chunk of images, on any number of workers, with the checks that keep a trial honest.

Each worker takes its share of the chunk; gradients are summed over workers after each image's loss was divided by the
chunk's size, so two workers with one image each do what one worker with two images does. (No DDP wrapper: adapters come
and go with every trial, and one flat all-reduce after the last backward is all that it would add.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tune_sa2va.config import LossSettings
from tune_sa2va.errors import NonFiniteError
from tune_sa2va.evaluate.predict import Example, last_hidden, mask_logits, pixel_counts
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.loss import combo_loss

LOSS_PARTS = ("total", "dice", "focal", "bce", "lm")


@dataclass(frozen=True, slots=True)
class StepResult:
    """Left on the device. losses: sums over this worker's images in the order of LOSS_PARTS; counts: a row an image."""

    losses: Float[Tensor, "5"]
    counts: Float[Tensor, "N 4"]
    grad_norm: float


def training_step(
    model: Sa2VA,
    examples: Sequence[Example],
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss_settings: LossSettings,
    *,
    chunk_size: int,
    max_grad_norm: float,
) -> StepResult:
    """Zero, forward and backward image by image, reduce, clip, check, step.

    examples: this worker's share, possibly empty; chunk_size: images of all workers together.

    Raises:
        NonFiniteError: the loss or a gradient is NaN or infinite; the weights have not changed.
    """
    optimizer.zero_grad(set_to_none=True)
    device = model.no_mem_embed.device
    losses = torch.zeros(len(LOSS_PARTS), device=device)
    counts = []
    for example in examples:
        parts, logits = image_loss(model, example, loss_settings)
        (parts[0] / chunk_size).backward()
        losses += parts.detach()
        counts.append(pixel_counts(logits.detach(), example.truth))
    gradients = reduce_gradients(list(parameters.values()))
    grad_norm = nn.utils.get_total_norm(gradients)
    # The one wait for the device in a step: a NaN has to stop the trial before it reaches the weights.
    norm, total = torch.stack((grad_norm, losses[0])).tolist()
    if not (_is_finite(norm) and _is_finite(total)):
        raise NonFiniteError(
            f"loss {total}, gradient norm {norm}: not finite, so the weights were left alone. "
            f"A lower learning rate than {optimizer.param_groups[0]['lr']:.2g} usually helps."
        )
    nn.utils.clip_grads_with_norm_(parameters.values(), max_grad_norm, grad_norm)
    optimizer.step()
    return StepResult(losses, torch.stack(counts) if counts else losses.new_zeros(0, 4, dtype=torch.float64), norm)


def image_loss(
    model: Sa2VA, example: Example, settings: LossSettings
) -> tuple[Float[Tensor, "5"], Float[Tensor, "H W"]]:
    """Loss parts of one image (order of LOSS_PARTS; the total is weighted, the parts are not) and its mask logits."""
    with torch.autocast(example.truth.device.type, torch.bfloat16, enabled=model.no_mem_embed.dtype == torch.bfloat16):
        hidden = last_hidden(model, example)
        logits = mask_logits(model, example, hidden)
        lm_loss = answer_loss(model, example, hidden) if settings.lm > 0 else logits.new_zeros(())
    parts = combo_loss(logits, example.truth.to(logits.dtype), settings)
    total = parts.total + settings.lm * lm_loss
    return torch.stack((total, parts.dice, parts.focal, parts.bce, lm_loss)), logits


def answer_loss(model: Sa2VA, example: Example, hidden: Float[Tensor, "1 T D"]) -> Float[Tensor, ""]:
    """Mean cross entropy of the answer's tokens and its `<|im_end|>`; `lm_head` runs on those positions alone."""
    tokens = example.tokens
    length = int((tokens.labels[tokens.answer_start :] != -100).sum())
    answer = slice(tokens.answer_start, tokens.answer_start + length)
    before = slice(tokens.answer_start - 1, tokens.answer_start + length - 1)
    return F.cross_entropy(model.language_model.lm_head(hidden[0, before]).float(), tokens.input_ids[answer])


def reduce_gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    """Gradients summed over all workers, in place; of those parameters that some worker has one for.

    The others keep None, so that weight decay leaves alone what the loss never reaches (SAM2's IoU head, say).
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        reached = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
        reached = reached.to(parameters[0].device)
        dist.all_reduce(reached)
        shared = [parameter for parameter, count in zip(parameters, reached.tolist(), strict=True) if count > 0]
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in shared if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _is_finite(value: float) -> bool:
    return value - value == 0.0
