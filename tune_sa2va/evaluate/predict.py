"""Mask logits of one image at its original resolution, with the answer given or written by the model itself."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.model.generate import greedy
from tune_sa2va.model.preprocess import Pixels
from tune_sa2va.model.prompt import Prompter, PromptTokens
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.model.upsample import to_image_size


@dataclass(frozen=True, slots=True)
class Example:
    """One image with its question. truth: (H, W) at the image's original resolution.

    pixels: input of the encoders that run in the step, or None if none does.
    view: augmentation that the step applies (`data.views`), or None to show the image as it is.
    """

    features: ImageFeatures
    tokens: PromptTokens
    truth: Bool[Tensor, "H W"]
    pixels: Pixels | None = None
    view: Float[Tensor, " 11"] | None = None


def to_device(example: Example, device: torch.device) -> Example:
    """The same example on `device`, without `pixels` and `view`, which predictions do not need."""
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


def predict(model: Sa2VA, example: Example) -> Float[Tensor, "H W"]:
    """`forced_logits` of an example."""
    height, width = example.truth.shape
    return forced_logits(model, example.features, example.tokens, (height, width))


@torch.no_grad()
def forced_logits(
    model: Sa2VA, features: ImageFeatures, tokens: PromptTokens, size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Mask logits with the answer given (teacher forced), as training computes them. size: (H, W) of the image."""
    with torch.autocast(tokens.input_ids.device.type, torch.bfloat16, enabled=_is_bf16(model)):
        embeds = model.embed_text(tokens.input_ids[None], features.image_tokens[None], tokens.image_start)
        hidden = model.hidden_states(embeds, features.context(tokens.image_start))
        return _image_logits(model, features, hidden[:, tokens.seg_position], size)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote by itself. logits: of the mask for its first [SEG]; None if it wrote no [SEG]."""

    text: str
    logits: Float[Tensor, "H W"] | None


@torch.no_grad()
def generated_answer(
    model: Sa2VA, features: ImageFeatures, tokens: PromptTokens, size: tuple[int, int], *, prompter: Prompter
) -> Answer:
    """The model's own answer to the question of `tokens` (greedy decoding). size: (H, W) of the image."""
    context = features.context(tokens.image_start)
    written = greedy(model, tokens, features.image_tokens, prompter=prompter, context=context)
    text = str(prompter.tokenizer.decode(written.token_ids.tolist()))
    if not len(written.seg_hidden):
        return Answer(text, None)
    with torch.autocast(tokens.input_ids.device.type, torch.bfloat16, enabled=_is_bf16(model)):
        return Answer(text, _image_logits(model, features, written.seg_hidden[:1], size))


def _image_logits(
    model: Sa2VA, features: ImageFeatures, seg_hidden: Float[Tensor, "1 D"], size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Logits of the mask with the highest predicted IoU, at the image's original resolution, fp32."""
    output = model.decode_masks(
        features.embed[None], features.high_res_1[None], features.high_res_0[None], model.text_hidden_fcs(seg_hidden)
    )
    height, width = size
    return to_image_size(output.best(), sam_side=model.dims.sam2.image_size, height=height, width=width)[0]


def _is_bf16(model: Sa2VA) -> bool:
    return model.no_mem_embed.dtype == torch.bfloat16


def to_counts(rows: Shaped[Tensor, "N 4"]) -> list[Counts]:
    """Converts rows of (TP, FP, FN, TN) to plain records. Waits for the device."""
    return [Counts(*(int(value) for value in row)) for row in rows.tolist()]
