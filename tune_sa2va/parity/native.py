"""Runs the native model on one golden sample, and returns every intermediate tensor by its name in golden data.

The calls are those of training, except that the encoders run with gradients. Forward hooks read tensors inside a call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_sa2va.model.families.qwen_vl import positions
from tune_sa2va.model.generate import greedy
from tune_sa2va.model.keymap import source_of
from tune_sa2va.model.preprocess import EncoderInputs, encoder_inputs, num_image_tokens
from tune_sa2va.model.prompt import IGNORE_INDEX, Prompter, PromptTokens
from tune_sa2va.model.sa2va import ImageFeatures, MaskOutput, Sa2VA
from tune_sa2va.model.upsample import to_image_size
from tune_sa2va.parity.golden import Golden

_NUM_GREEDY = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """A prepared picture with its prompt and its truth (1, 1, H, W). merge: image patches per token, along one side."""

    encoder: EncoderInputs
    prompt: PromptTokens
    truth: Tensor
    prompter: Prompter
    merge: int

    def named(self) -> dict[str, Tensor]:
        """The inputs by golden name. The native model takes no padding mask and no positions; it assumes these."""
        length = len(self.prompt.input_ids)
        named = {
            "input_ids": self.prompt.input_ids[None],
            "labels": self.prompt.labels[None],
            "attention_mask": torch.ones(1, length, dtype=torch.int64),
            "position_ids": torch.arange(length)[None],
            "pixel_values": self.encoder.pixel_values,
            "g_pixel_values": self.encoder.g_pixel_values,
        }
        if self.encoder.grid is not None:
            rows, columns = self.encoder.grid
            named["image_grid_thw"] = torch.tensor([[1, rows * self.merge, columns * self.merge]])
        return named


def prepare(golden: Golden) -> Sample:
    """The inputs, made from the raw picture and the text by the code that training uses."""
    prompter = Prompter(golden.folder)
    encoder = encoder_inputs(golden.inputs["image"].numpy(), golden.dims)
    height, width = golden.inputs["image"].shape[:2]
    count = num_image_tokens(width, height, golden.dims)
    return Sample(
        encoder=encoder,
        prompt=prompter.build(question=golden.question, answer=golden.answer, num_image_tokens=count),
        truth=golden.inputs["mask"][None, None].float(),
        prompter=prompter,
        merge=1 if golden.dims.family.is_internvl else golden.dims.patching.merge,
    )


def run(model: Sa2VA, sample: Sample, *, dtype: torch.dtype) -> dict[str, Tensor]:
    """A forward pass from pixels to losses: every tensor by its golden name, with its autograd graph.

    dtype: bf16 runs under autocast.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        with _captured(model) as tensors:
            features = model.encode_image(
                sample.encoder.pixel_values.to(dtype),
                sample.encoder.g_pixel_values.to(dtype),
                project_high_res=True,
                grid=sample.encoder.grid,
            )
            ids = sample.prompt.input_ids[None]
            embeds = model.embed_text(ids, features.image_tokens[None], sample.prompt.image_start)
            hidden = model.hidden_states(embeds, features.context(sample.prompt.image_start))
            seg_embedding = model.seg_embeddings(hidden, torch.tensor([sample.prompt.seg_position]))
            output = model.decode_masks(
                features.embed[None], features.high_res_1[None], features.high_res_0[None], seg_embedding
            )
        tensors |= {"llm_last_hidden_state": hidden, "seg_embedding": seg_embedding}
        tensors |= _image_tensors(model, features, seg_embedding)
        tensors |= _mask_tensors(model, output, sample)
        tensors |= _text_tensors(model, hidden, sample)
        if features.grid is not None:
            length = len(sample.prompt.input_ids)
            tensors["position_ids_mrope"] = positions(length, sample.prompt.image_start, features.grid)[:, None]
        tensors["greedy_first_8_ids"] = greedy(
            model,
            sample.prompt,
            features.image_tokens,
            prompter=sample.prompter,
            context=features.context(sample.prompt.image_start),
            max_new_tokens=_NUM_GREEDY,
            may_end=False,
        ).token_ids
    return tensors


def gradients(loss: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of `loss` with respect to each leaf; zeros if the loss does not depend on it."""
    found = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def joiners_by_key(model: Sa2VA) -> dict[str, Callable[[Mapping[str, Tensor]], Tensor]]:
    """Checkpoint key -> the function that assembles its tensor from native tensors (or their gradients) by name."""
    pieces: dict[str, dict[int, tuple[str, slice]]] = {}
    for name, _ in model.named_parameters():
        source = source_of(name, model.dims.family)
        for row, key in enumerate(source.keys):
            rows = slice(row, row + 1) if len(source.keys) > 1 else slice(None)
            pieces.setdefault(key, {})[source.third or 0] = (name, rows)
    return {key: _joiner([parts[i] for i in sorted(parts)]) for key, parts in pieces.items()}


def _joiner(parts: list[tuple[str, slice]]) -> Callable[[Mapping[str, Tensor]], Tensor]:
    return lambda native: torch.cat([native[name][rows] for name, rows in parts])


@contextmanager
def _captured(model: Sa2VA) -> Iterator[dict[str, Tensor]]:
    """Collects the outputs of the encoders and of the first decoder layer while the block runs."""
    seen: dict[str, Tensor] = {}
    levels = model.sam_vision.num_feature_levels

    def keep(module: nn.Module, pick: Callable[[Any], dict[str, Tensor]]) -> Any:
        return module.register_forward_hook(lambda _module, _inputs, output: seen.update(pick(output)))

    handles = [
        keep(model.vision_model, lambda output: {"vit_last_hidden_state": output.last_hidden_state}),
        keep(
            model.sam_vision.backbone,
            lambda output: {
                f"sam_trunk_{stage}": features.permute(0, 3, 1, 2)
                for stage, features in enumerate(output.intermediate_hidden_states)
            },
        ),
        keep(model.sam_vision.neck, lambda output: {"sam_image_embed": output[0][-levels]}),
        keep(model.language_model.model.layers[0], lambda output: {"llm_layer0_output": output}),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _image_tensors(model: Sa2VA, features: ImageFeatures, seg_embedding: Tensor) -> dict[str, Tensor]:
    return {
        **_token_tensors(model, features),
        "sam_image_embed_no_mem": features.embed[None],
        "sam_high_res_0": features.high_res_0[None],
        "sam_high_res_1": features.high_res_1[None],
        "sam_image_pe": model.image_position_encoding(),
        "sam_sparse_prompts": model.sparse_prompts(seg_embedding),
        "sam_dense_prompt_pixel": model.sam_prompt_encoder.no_mask_embed.weight,
    }


def _token_tensors(model: Sa2VA, features: ImageFeatures) -> dict[str, Tensor]:
    if features.deepstack is None:
        return {"vit_embeds": features.image_tokens.unflatten(0, (-1, model.dims.tokens_per_tile))}
    deepstack = {f"visual_deepstack_{level}": added for level, added in enumerate(features.deepstack)}
    return {"visual_embeds": features.image_tokens, **deepstack}


def _mask_tensors(model: Sa2VA, output: MaskOutput, sample: Sample) -> dict[str, Tensor]:
    low_res = output.best()
    height, width = sample.truth.shape[-2:]
    side = model.dims.sam2.image_size
    mask_logits = to_image_size(low_res, sam_side=side, height=height, width=width)
    truth = F.interpolate(sample.truth, low_res.shape[-2:], mode="nearest")
    return {
        "low_res_multimasks": output.mask_logits,
        "iou_scores": output.iou_scores,
        "object_score_logits": output.object_score_logits,
        "best_index": output.iou_scores.argmax(dim=1),
        "low_res_mask": low_res[:, None],
        "sam_size_mask": to_image_size(low_res, sam_side=side, height=side, width=side)[:, None],
        "mask_logits": mask_logits[:, None],
        "predict_forward_mask": (mask_logits > 0).to(torch.uint8),
        "gt_low_res": truth,
        "loss_mean_logit": low_res.float().mean(),
        "loss_bce": F.binary_cross_entropy_with_logits(low_res.float()[:, None], truth),
    }


def _text_tensors(model: Sa2VA, hidden: Tensor, sample: Sample) -> dict[str, Tensor]:
    labelled = (sample.prompt.labels != IGNORE_INDEX).nonzero()[:, 0]
    logits = model.logits(hidden[0, labelled - 1]).float()
    return {
        "llm_normed_hidden_state": model.language_model.model.norm(hidden),
        "logits_answer": logits,
        "loss_ce": F.cross_entropy(logits, sample.prompt.labels[labelled]),
    }
