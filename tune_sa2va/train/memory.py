"""Predicts how much GPU memory a trial takes, before anything is loaded.

No formula is used, since it would have to follow each change of the code. The model, the adapters and the step are
built and run as usual, but on fake tensors (shapes without numbers), while live bytes are counted; see `live_bytes`.
On a GPU the layers are compiled, which keeps less for the backward pass; see `partition`. The allocator there reserves
more than the tensors need, because CUDA graphs have a memory pool of their own. Its rules are simulated for the
sequence of eager calls and captures in a trial's first epoch; see `caching_allocator`. The memory of the CUDA driver is
added as a measured constant. `bench memory` compares the prediction with a real GPU.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from tune_sa2va.cache.shapes import feature_shapes
from tune_sa2va.config import DataSettings, Fp8Copies, MemoryMode, Precision, Saving, TrialConfig, savings
from tune_sa2va.data.views import NUM_NUMBERS
from tune_sa2va.evaluate.batch import Batch, Collator, Shape
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.dropout import keep_mask
from tune_sa2va.model.fp8 import fp8_of, quantise_layers
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.hiera import BlockKind, BlockWeights, run_block
from tune_sa2va.model.lora import attached, make_store
from tune_sa2va.model.preprocess import Pixels, encoder_inputs, num_image_tokens, pixels_of
from tune_sa2va.model.projection import Projection
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.model.towers import Towers
from tune_sa2va.train.caching_allocator import GENERAL, GRAPHS
from tune_sa2va.train.engine import _CANVAS_MULTIPLE as CANVAS_MULTIPLE
from tune_sa2va.train.engine import _TOKEN_MULTIPLE as TOKEN_MULTIPLE
from tune_sa2va.train.engine import gpu_validation_batch
from tune_sa2va.train.live_bytes import LiveBytes, total_bytes
from tune_sa2va.train.partition import partitioned
from tune_sa2va.train.step import Stepper

CUDA_CONTEXT_GIB = 0.52
"""GPU memory of a process before its first tensor: 527 MiB by nvidia-smi on an H100, torch 2.11 with CUDA 13."""

_WORKSPACE_BYTES, _NUM_WORKSPACES = 32 * 2**20, 2
"""cuBLAS workspaces on a stream: torch's default size on Hopper, one each for the forward and the backward thread."""

_ENCODERS = ("vision_model", "mlp1", "sam_vision")
_QUESTION = "Please segment the blood vessel."


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Predicted memory of one trial, or of several that sit together, at one image size, in GiB.

    width_px, height_px: of the image. tokens: length of the sequence, padding included; image_tokens: how many of them
        are the image's.
    checkpointed: whether activations are computed again in the backward pass. fp8_copies: as in `ModelSettings`; 0 if
        the base is not in fp8.
    base_gib: weights, including encoders that run in the steps. encoders_gib: weights of the other encoders.
    adapters_gib: trained values, their gradients, AdamW's moments, the running average and copies in the base's dtype;
        for all folds and seats.
    activations_gib: peak of a step, or of a validation batch, on top of the above.
    held_gib: what the allocator reserves beyond live tensors: the graphs' pool, unused parts of segments, workspaces;
        0 on a CPU.
    encoding_gib: peak of the encoders' forward pass on top of the weights.
    context_gib: the CUDA context; 0 on a CPU.
    trained_values: number of trained parameters of a trial.
    """

    width_px: int
    height_px: int
    image_tokens: int
    tokens: int
    checkpointed: bool
    fp8_copies: int
    base_gib: float
    encoders_gib: float
    adapters_gib: float
    activations_gib: float
    held_gib: float
    encoding_gib: float
    context_gib: float
    trained_values: int

    @property
    def loading_gib(self) -> float:
        """Peak memory of tensors while the model is loaded and the images are encoded."""
        return self.base_gib + self.encoders_gib + self.encoding_gib

    @property
    def step_gib(self) -> float:
        """Peak memory of training and validation, as `torch.cuda.max_memory_reserved` reports it."""
        return self.base_gib + self.adapters_gib + self.activations_gib + self.held_gib

    @property
    def card_gib(self) -> float:
        """Memory that must be free on the GPU."""
        return max(self.loading_gib, self.step_gib) + self.context_gib

    def fits(self, free_gib: float) -> bool:
        """Whether the trial fits on a GPU with `free_gib` of free memory."""
        return self.card_gib <= free_gib


@cache
def estimate_memory(
    folder: Path,
    config: TrialConfig,
    *,
    precision: Precision,
    on_gpu: bool,
    width_px: int,
    height_px: int,
    largest_r: int | None = None,
    any_dropout: bool = False,
    checkpointed: bool = False,
    fp8_copies: Fp8Copies = 2,
    folds: int = 1,
    seats: int = 1,
) -> MemoryEstimate:
    """The estimate for the model in `folder` and images of this size. Takes seconds and reads no weights.

    largest_r, any_dropout: largest rank of the search, and whether any trial uses dropout: the steps of every trial are
        laid out for them.
    folds: adapters per trial. One is in the store; copies of all, with their moments, are kept beside it.
    seats: trials that share the steps.

    Raises:
        UserError: the folder is not a checkpoint, or `config` does not fit the model.
    """
    model = outline_of(folder)
    rank = max(config.lora.r, largest_r or 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _give_storage(model, torch.float32 if precision == "fp32" else torch.bfloat16)
        if precision == "fp8":
            quantise_layers(model.language_model, fp8_copies)
        features, encoding = _encode(model, config, width_px, height_px)
        layers = _PartitionedLayers(model) if on_gpu else FusedLayers(model, compiled=False)
        encoders = total_bytes(tensor for name in _ENCODERS for tensor in _tensors(getattr(model, name)))
        kept = [name for name in _ENCODERS if (config.runs_sam2 if name == "sam_vision" else config.runs_vision)]
        in_steps = total_bytes(tensor for name in kept for tensor in _tensors(getattr(model, name)))
        base = total_bytes(_tensors(model)) - encoders + in_steps
        with LiveBytes(_tensors(model)) as live:
            store = make_store(
                model, config.lora, config.train.full_modules, rank=rank, drops=any_dropout,
                encoder=config.encoder, encoder_rank=config.encoder.r, seats=seats,
            )  # fmt: skip
            adapters = attached(model, config, store)
            towers = _PartitionedTowers(model) if on_gpu else Towers(model, compiled=False)
            stepper = Stepper(model, layers, store, world_size=1, towers=towers)
            for seat in range(seats):
                stepper.reset(config.loss, config.optimizer, config.encoder.lr_factor, config.train.ema, seat=seat)
            copies = range(folds * seats if folds > 1 else 0)
            kept_folds = [[tensor.clone() for tensor in stepper.state()] for _ in copies]
        trained = live.live
        stepper.checkpointed = checkpointed
        adapters[0].train(True)
        collator = Collator(
            model, token_multiple=TOKEN_MULTIPLE if on_gpu else 1, canvas_multiple=CANVAS_MULTIPLE if on_gpu else 1
        )
        example = _example(model, features, config, folder, width_px, height_px)
        with live:
            if on_gpu:
                shape = _rehearse_with_graphs(stepper, collator, example, config, live, in_folds=folds > 1)
            else:
                shape = _rehearse(stepper, collator, example, config)
        del kept_folds
    return MemoryEstimate(
        width_px=width_px,
        height_px=height_px,
        image_tokens=len(features.image_tokens),
        tokens=shape.tokens,
        checkpointed=checkpointed,
        fp8_copies=fp8_copies if precision == "fp8" else 0,
        base_gib=base / 2**30,
        encoders_gib=(encoders - in_steps) / 2**30,
        adapters_gib=trained / 2**30,
        activations_gib=(live.peak - trained) / 2**30,
        held_gib=(live.allocator.peak - base - live.peak) / 2**30 if on_gpu else 0.0,
        encoding_gib=encoding / 2**30,
        context_gib=CUDA_CONTEXT_GIB if on_gpu else 0.0,
        trained_values=sum(values.numel() for values in adapters[0].parameters.values()),
    )


class _PartitionedLayers(FusedLayers):
    """The layers, with the memory use of compiled ones."""

    def __init__(self, model: Sa2VA) -> None:
        super().__init__(model, compiled=False)
        self._attend, self._feed_forward = partitioned(self._attend), partitioned(self._feed_forward)
        masks: dict[tuple[int, ...], Callable[..., Tensor]] = {}

        def keep(shape: tuple[int, ...], *numbers: Tensor) -> Tensor:
            if shape not in masks:
                masks[shape] = partitioned(lambda *numbers: keep_mask(shape, *numbers))
            return masks[shape](*numbers)

        self._keep = keep


class _PartitionedTowers(Towers):
    """The encoders, with the memory use of compiled ones."""

    def __init__(self, model: Sa2VA) -> None:
        super().__init__(model, compiled=False)
        runs: dict[Hashable, Callable[..., Tensor]] = {}

        def run(x: Tensor, weights: BlockWeights, scale: Tensor, kind: BlockKind) -> Tensor:
            adapters = tuple(any(part.adapters) for part in weights if isinstance(part, Projection))
            key = (x.shape, x.requires_grad, adapters, kind)
            if key not in runs:
                runs[key] = partitioned(lambda x, weights, scale: run_block(x, weights, scale, kind))
            return runs[key](x, weights, scale)

        self._hiera._run = run


def _give_storage(model: Sa2VA, dtype: torch.dtype) -> None:
    """Replaces each meta tensor by a fake tensor. Call it under `FakeTensorMode`."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=dtype)
                module._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    model.eval()


def choose_saving(
    mode: MemoryMode, precision: Precision, free_gib: float, estimate: Callable[[Saving], MemoryEstimate]
) -> tuple[Saving, MemoryEstimate]:
    """What is done to save memory, and the estimate for it.

    mode: "fast": nothing. "checkpoint": all that can be done. "auto": no more than it takes to fit.
    """
    known = {"fast": savings(precision)[:1], "checkpoint": savings(precision)[-1:], "auto": savings(precision)}
    for saving in known[mode]:
        found = estimate(saving)
        if found.fits(free_gib):
            break
    return saving, found


def _encode(model: Sa2VA, config: TrialConfig, width_px: int, height_px: int) -> tuple[ImageFeatures, int]:
    """The features of an image of this size, and the encoders' peak memory in bytes on top of their weights."""
    dims, reference = model.dims, model.no_mem_embed
    raw_high_res = "mask_decoder" in config.train.full_modules
    inputs = encoder_inputs(np.zeros((height_px, width_px, 3), np.uint8), dims)
    pixel_values, g_pixel_values = (
        reference.new_empty(real.shape) for real in (inputs.pixel_values, inputs.g_pixel_values)
    )
    with torch.no_grad(), LiveBytes(_tensors(model)) as live:
        if dims.family.is_internvl:
            features = model.encode_image(pixel_values, g_pixel_values, project_high_res=not raw_high_res)
        else:
            # Qwen-VL's encoder computes its windows from values, which fake tensors lack. SAM2's is the larger one.
            model.encode_sam(g_pixel_values)
            shapes = feature_shapes(dims, num_image_tokens(width_px, height_px, dims), raw_high_res=raw_high_res)
            tensors = {name: reference.new_empty(shape) for name, shape in shapes.items()}
            features = ImageFeatures(**tensors, grid=inputs.grid)
    return features, live.peak


def _example(
    model: Sa2VA, features: ImageFeatures, config: TrialConfig, folder: Path, width_px: int, height_px: int
) -> Example:
    with unset_fake_temporarily():  # the length of the token sequence must be real
        tokens = Prompter(folder).build(
            question=_QUESTION, answer=DataSettings(source="").answer, num_image_tokens=len(features.image_tokens)
        )
        picture = np.zeros((height_px, width_px, 3), np.uint8)
        real = pixels_of(picture, model.dims, sam2=config.runs_sam2, vision=config.runs_vision)
    square, tiles = (
        None if pixels is None else torch.empty(pixels.shape, dtype=torch.uint8) for pixels in (real.square, real.tiles)
    )
    pixels = Pixels(square, tiles, real.grid) if config.runs_sam2 or config.runs_vision else None
    view = torch.empty(NUM_NUMBERS) if pixels is not None and config.data.strength else None
    return Example(features, tokens, torch.empty(height_px, width_px, dtype=torch.bool), pixels, view)


def _shape(collator: Collator, example: Example, config: TrialConfig) -> Shape:
    with unset_fake_temporarily():
        return collator.shape(example, with_answer=config.loss.lm > 0)


def _rehearse(stepper: Stepper, collator: Collator, example: Example, config: TrialConfig) -> Shape:
    """Runs an optimizer step and a validation batch, on batches of `example` made as in training."""
    shape = _shape(collator, example, config)
    size = config.train.micro_batch_size
    batch = collator.collate([example] * size * stepper.store.seats, shape)
    stepper.accumulate(batch, shape, share=1 / size)
    stepper.update(lr=config.optimizer.lr)
    del batch
    stepper.count(collator.collate([example], shape), shape)
    return shape


def _rehearse_with_graphs(
    stepper: Stepper, collator: Collator, example: Example, config: TrialConfig, live: LiveBytes, *, in_folds: bool
) -> Shape:
    """Runs a first epoch in the order of `Graphs` and `Feed`: captures the step, then calls and captures validation.

    in_folds: the seats may be in different folds, and then each validates other images.

    The step's eager first call is left out, since what follows takes more memory. So is the update, a single compiled
    kernel.
    """
    shape = _shape(collator, example, config)
    allocator, size = live.allocator, config.train.micro_batch_size
    workspaces = [_workspaces(live, pool) for pool in (GENERAL, GRAPHS)]

    def fed(num_images: int) -> list[Batch]:
        """Three batches: the graph's static one, the one in use, and the one that is being copied."""
        return [collator.collate([example] * num_images, shape) for _ in range(3)]

    seats = stepper.store.seats
    steps = fed(size * seats)
    with allocator.serving(GRAPHS):
        stepper.accumulate(steps[0], shape, share=1 / size)
    del steps[1:]
    of_seat = max(1, gpu_validation_batch(checkpointed=stepper.checkpointed) // seats)
    count, images = (stepper.count_each, seats * of_seat) if in_folds else (stepper.count, of_seat)
    validation = fed(images)
    count(validation[1], shape)
    allocator.empty_cache()
    with allocator.serving(GRAPHS):
        count(validation[0], shape)
    stepper.store.of(stepper.store.values, 0).abs()  # as the trial does to check that its weights change
    del workspaces
    return shape


def _workspaces(live: LiveBytes, pool: str) -> list[Tensor]:
    with live.allocator.serving(pool):
        return [torch.empty(_WORKSPACE_BYTES, dtype=torch.uint8) for _ in range(_NUM_WORKSPACES)]


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from (tensor for tensor in module.parameters() if not tensor.is_meta)
    yield from module.buffers()
    quantised = (weight for part in module.modules() if (weight := fp8_of(part)) is not None)
    yield from (tensor for weight in quantised for tensor in weight.tensors)
