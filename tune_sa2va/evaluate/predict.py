"""Masks of one image on its own pixels, from cached features and a question."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.model.prompt import PromptTokens
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.model.upsample import to_image_size


@dataclass(frozen=True, slots=True)
class Example:
    """One image with its question, on the device. truth: (H, W) on the image's own pixels."""

    features: ImageFeatures
    tokens: PromptTokens
    truth: Bool[Tensor, "H W"]


def to_device(example: Example, device: torch.device) -> Example:
    """The same example on `device`."""
    features, tokens = example.features, example.tokens
    return Example(
        ImageFeatures(
            features.image_tokens.to(device), features.embed.to(device),
            features.high_res_1.to(device), features.high_res_0.to(device),
            features.grid, None if features.deepstack is None else features.deepstack.to(device),
        ),
        replace(tokens, input_ids=tokens.input_ids.to(device), labels=tokens.labels.to(device)),
        example.truth.to(device),
    )  # fmt: skip


def last_hidden(model: Sa2VA, example: Example) -> Float[Tensor, "1 T D"]:
    """The language model's last hidden states over the example's whole sequence."""
    tokens = example.tokens
    embeds = model.embed_text(tokens.input_ids[None], example.features.image_tokens[None], tokens.image_start)
    return model.hidden_states(embeds, example.features.context(tokens.image_start))


def mask_logits(model: Sa2VA, example: Example, hidden: Float[Tensor, "1 T D"]) -> Float[Tensor, "H W"]:
    """Logits on the image's own pixels, fp32, of the mask with the highest predicted IoU."""
    seg_position = torch.tensor([example.tokens.seg_position], device=hidden.device)
    features = example.features
    output = model.decode_masks(
        features.embed[None], features.high_res_1[None], features.high_res_0[None],
        model.seg_embeddings(hidden, seg_position),
    )  # fmt: skip
    height, width = example.truth.shape
    return to_image_size(output.best(), sam_side=model.dims.sam2.image_size, height=height, width=width)[0]


@torch.no_grad()
def predict(model: Sa2VA, example: Example) -> Float[Tensor, "H W"]:
    """Mask logits with the answer given (teacher forced), as training computes them."""
    with torch.autocast(example.truth.device.type, torch.bfloat16, enabled=model.no_mem_embed.dtype == torch.bfloat16):
        return mask_logits(model, example, last_hidden(model, example))


def pixel_counts(logits: Float[Tensor, "H W"], truth: Bool[Tensor, "H W"]) -> Float[Tensor, "4"]:
    """(TP, FP, FN, TN) at threshold 0.5 (logit 0), left on the device; float64, so that sums stay whole numbers."""
    mask = logits > 0
    return torch.stack(
        ((mask & truth).sum(), (mask & ~truth).sum(), (~mask & truth).sum(), (~mask & ~truth).sum())
    ).double()


def to_counts(rows: Shaped[Tensor, "N 4"]) -> list[Counts]:
    """Rows of `pixel_counts` as plain records; waits for the device."""
    return [Counts(*(int(value) for value in row)) for row in rows.tolist()]
