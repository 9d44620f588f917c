"""Puts images of one shape into a batch and computes its mask logits: the forward pass of training and validation.

A CUDA graph is captured for one shape, so there should be few shapes. Sequences are cut after the last row that is
needed and padded to a multiple; logits lie on a canvas whose sides are padded, too. An image's own size is data and not
shape: the matrices that resize its mask have zero rows where the canvas extends beyond it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.adapter_store import AdapterStore
from tune_sa2va.model.families.qwen_vl import VisualContext
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.prompt import IGNORE_INDEX
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.model.upsample import resize_matrix


class Shape(NamedTuple):
    """What the images of a batch have in common.

    image_start: position of the first image token. image_tokens: their number. tokens: padded sequence length.
    answer: number of answer tokens that are scored; 0 without the answer's loss.
    height, width: of the canvas in pixels.
    grid: rows and columns of image tokens in the Qwen-VL families, otherwise None.
    tiles: rows and columns of the vision encoder's input if it runs in the step, otherwise None.
    """

    image_start: int
    image_tokens: int
    tokens: int
    answer: int
    height: int
    width: int
    grid: tuple[int, int] | None
    tiles: tuple[int, int] | None = None


class Batch(NamedTuple):
    """The tensors of B images.

    rows: positions whose hidden states are needed: first [SEG], then those that predict the answer's tokens.
    answer_ids: the A tokens of the answer; A is 0 without the answer's loss.
    to_height, to_width: see `resize_matrix`. deepstack: see `ImageFeatures`; L is 0 if there is none.
    square, tiles: 8-bit input of SAM2's and the vision encoder if they run in the step; their features are empty then.
        Otherwise these are empty.
    view: augmentation of the input, see `data.views`; empty if images are shown as they are.
    """

    input_ids: Int[Tensor, "B T"]
    rows: Int[Tensor, "B R"]
    answer_ids: Int[Tensor, "B A"]
    image_tokens: Float[Tensor, "B I D"]
    embed: Float[Tensor, "B d h w"]
    high_res_1: Float[Tensor, "B c1 2h 2w"]
    high_res_0: Float[Tensor, "B c0 4h 4w"]
    truth: Bool[Tensor, "B H W"]
    to_height: Float[Tensor, "B H S"]
    to_width: Float[Tensor, "B W S"]
    deepstack: Float[Tensor, "B L I D"]
    square: UInt8[Tensor, "B 3 G G"]
    tiles: UInt8[Tensor, "B N 3 P P"]
    view: Float[Tensor, "B V"]

    def context(self, shape: Shape) -> VisualContext | None:
        """Extra input of the language model; None in the InternVL families."""
        return None if shape.grid is None else VisualContext(shape.image_start, shape.grid, self.deepstack)

    def copy_from(self, other: "Batch") -> None:
        """Copies the values of `other`, which must have the same shapes."""
        for mine, new in zip(self, other, strict=True):
            mine.copy_(new, non_blocking=True)

    def repeated(self, times: int) -> "Batch":
        """The same images so many times, one after another: each seat's copy of them."""
        if times == 1:
            return self
        return Batch(*(tensor.repeat(times, *[1] * (tensor.ndim - 1)) for tensor in self))

    def valid(self) -> Bool[Tensor, "B H W"]:
        """True where the canvas shows the image: rows of a resize matrix sum to 1 there, and to 0 beyond."""
        return (self.to_height.sum(-1) > 0.5)[:, :, None] & (self.to_width.sum(-1) > 0.5)[:, None, :]


class Collator:
    """Puts examples (on the CPU) into batches for one model.

    token_multiple, canvas_multiple: sequence lengths and canvas sides are rounded up to these; 1 for no padding.
    """

    def __init__(self, model: Sa2VA, *, token_multiple: int, canvas_multiple: int) -> None:
        self._sam2 = model.dims.sam2
        self._token_multiple, self._canvas_multiple = token_multiple, canvas_multiple
        self._matrices: dict[tuple[int, int], Tensor] = {}

    def shape(self, example: Example, *, with_answer: bool) -> Shape:
        """The shape of batches that `example` fits in. with_answer: whether the answer's loss is computed."""
        tokens = example.tokens
        answer = int((tokens.labels[tokens.answer_start :] != IGNORE_INDEX).sum()) if with_answer else 0
        needed = max(tokens.seg_position + 1, tokens.answer_start + answer if with_answer else 0)
        height, width = example.truth.shape
        return Shape(
            image_start=tokens.image_start,
            image_tokens=len(example.features.image_tokens),
            tokens=_round_up(needed, self._token_multiple),
            answer=answer,
            height=_round_up(height, self._canvas_multiple),
            width=_round_up(width, self._canvas_multiple),
            grid=example.features.grid,
            tiles=None if example.pixels is None else example.pixels.grid,
        )

    def collate(self, examples: Sequence[Example], shape: Shape) -> Batch:
        """Puts examples, all of `shape`, into a batch on the CPU."""
        features = [example.features for example in examples]
        pixels = [example.pixels for example in examples if example.pixels is not None]
        squares = [each.square for each in pixels if each.square is not None]
        tiles = [each.tiles for each in pixels if each.tiles is not None]
        views = [example.view for example in examples if example.view is not None]
        truth = torch.zeros(len(examples), shape.height, shape.width, dtype=torch.bool)
        for place, example in zip(truth, examples, strict=True):
            place[: example.truth.shape[0], : example.truth.shape[1]] = example.truth
        rows, answer_ids, input_ids = [], [], torch.zeros(len(examples), shape.tokens, dtype=torch.long)
        for place, example in zip(input_ids, examples, strict=True):
            tokens = example.tokens
            length = min(len(tokens.input_ids), shape.tokens)
            place[:length] = tokens.input_ids[:length]
            answer = torch.arange(tokens.answer_start, tokens.answer_start + shape.answer)
            rows.append(torch.cat((torch.tensor([tokens.seg_position]), answer - 1)))
            answer_ids.append(tokens.input_ids[answer])
        return Batch(
            input_ids=input_ids,
            rows=torch.stack(rows),
            answer_ids=torch.stack(answer_ids),
            image_tokens=_stacked([each.image_tokens for each in features], left_out=bool(tiles)),
            embed=_stacked([each.embed for each in features], left_out=bool(squares)),
            high_res_1=_stacked([each.high_res_1 for each in features], left_out=bool(squares)),
            high_res_0=_stacked([each.high_res_0 for each in features], left_out=bool(squares)),
            truth=truth,
            to_height=torch.stack([self._matrix(example.truth.shape[0], shape.height) for example in examples]),
            to_width=torch.stack([self._matrix(example.truth.shape[1], shape.width) for example in examples]),
            deepstack=torch.stack([_deepstack(each) for each in features]),
            square=torch.stack(squares) if squares else _nothing(torch.uint8),
            tiles=torch.stack(tiles) if tiles else _nothing(torch.uint8),
            view=torch.stack(views) if views else _nothing(torch.float32),
        )

    def _matrix(self, length: int, canvas: int) -> Tensor:
        if (length, canvas) not in self._matrices:
            self._matrices[length, canvas] = resize_matrix(
                length, mask_side=self._sam2.mask_side, sam_side=self._sam2.image_size, canvas=canvas,
                device=torch.device("cpu"),
            )  # fmt: skip
        return self._matrices[length, canvas]


def hidden_rows(
    model: Sa2VA,
    layers: FusedLayers,
    batch: Batch,
    shape: Shape,
    store: AdapterStore | None,
    *,
    checkpointed: bool = False,
) -> Float[Tensor, "B R D"]:
    """The language model's hidden states at the batch's rows."""
    embeds = model.embed_text(batch.input_ids, batch.image_tokens, shape.image_start)
    return layers.hidden_rows(embeds, batch.rows, store, batch.context(shape), checkpointed=checkpointed)


def mask_logits(model: Sa2VA, batch: Batch, seg_hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B S S"]:
    """Logits of the mask with the highest predicted IoU, on the mask decoder's grid of S x S pixels."""
    with torch.autocast(seg_hidden.device.type, torch.bfloat16, enabled=model.no_mem_embed.dtype == torch.bfloat16):
        seg = model.text_hidden_fcs(seg_hidden)
        return model.decode_masks(batch.embed, batch.high_res_1, batch.high_res_0, seg).best()


def on_canvas(batch: Batch, masks: Float[Tensor, "B S S"]) -> Float[Tensor, "B H W"]:
    """Logits at the images' original resolution on the canvas, fp32; 0 beyond each image."""
    return batch.to_height @ masks.float() @ batch.to_width.transpose(1, 2)


def batch_counts(
    logits: Float[Tensor, "B H W"], truth: Bool[Tensor, "B H W"], valid: Bool[Tensor, "B H W"]
) -> Int[Tensor, "B 4"]:
    """(TP, FP, FN, TN) of each image at threshold 0.5 (logit 0), on the device."""
    mask = (logits > 0) & valid
    parts = (mask & truth, mask & ~truth, ~mask & truth, ~mask & ~truth & valid)
    return torch.stack([part.sum(dim=(1, 2)) for part in parts], dim=1)


def _stacked(tensors: Sequence[Tensor], *, left_out: bool) -> Tensor:
    return _nothing(tensors[0].dtype) if left_out else torch.stack(list(tensors))


def _nothing(dtype: torch.dtype) -> Tensor:
    return torch.empty(0, dtype=dtype)


def _deepstack(features: ImageFeatures) -> Tensor:
    if features.deepstack is None:
        return features.image_tokens.new_zeros(0, *features.image_tokens.shape)
    return features.deepstack


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
