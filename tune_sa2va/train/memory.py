"""How much memory of the card a trial takes, before anything is loaded.

Nothing is estimated by a formula that would have to follow each change of the code: the model, the adapters and the
step are built and run as ever, on fake tensors (shapes without numbers), while the bytes that are alive are counted;
see `live_bytes`. On a GPU the layers are compiled, which keeps less for the backward pass; see `partition`. There the
allocator holds more than the tensors, since graphs have a pool to themselves: its own rules are followed through the
order of eager calls and captures that a trial's first epoch has; see `caching_allocator`. What the CUDA driver takes
besides is added as a measured constant. `bench memory` holds all this against a card.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from tune_sa2va.cache.shapes import feature_shapes
from tune_sa2va.config import DataSettings, MemoryMode, Precision, TrialConfig
from tune_sa2va.data.views import NUM_NUMBERS
from tune_sa2va.evaluate.batch import Batch, Collator, Shape
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.hiera import BlockKind, BlockWeights, run_block
from tune_sa2va.model.lora import TrialAdapters, make_store
from tune_sa2va.model.preprocess import Pixels, encoder_inputs, num_image_tokens, pixels_of
from tune_sa2va.model.projection import Projection
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.model.towers import Towers
from tune_sa2va.train.caching_allocator import GENERAL, GRAPHS
from tune_sa2va.train.engine import _CANVAS_MULTIPLE as CANVAS_MULTIPLE
from tune_sa2va.train.engine import _GPU_VALIDATION_BATCH as GPU_VALIDATION_BATCH
from tune_sa2va.train.engine import _TOKEN_MULTIPLE as TOKEN_MULTIPLE
from tune_sa2va.train.live_bytes import LiveBytes, total_bytes
from tune_sa2va.train.partition import partitioned
from tune_sa2va.train.step import Stepper

CUDA_CONTEXT_GIB = 0.52
"""What a process takes on a card before its first tensor: 527 MiB by nvidia-smi on an H100, torch 2.11 with CUDA 13."""

_WORKSPACE_BYTES, _NUM_WORKSPACES = 32 * 2**20, 2
"""Of cuBLAS on a stream, torch's default on Hopper: a handle each for the threads of forward and backward."""

_ENCODERS = ("vision_model", "mlp1", "sam_vision")
_QUESTION = "Please segment the blood vessel."


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Predicted GiB of one trial at one image size.

    image_tokens: of the sequence of `tokens` that is computed. base: weights, with those of the encoders that run in
    the steps; encoders: those of the others. adapters: trained values, their gradients, AdamW's moments, the running
    average and the copies in the base's dtype; of all folds. activations: the most that a step, or a batch of
    validation, holds besides all of these. held: what the allocator keeps of the card besides the tensors: the graphs'
    pool, rests of its segments, workspaces; 0 on a CPU. encoding: the most that the encoders' forward holds besides the
    weights. trained_values: numbers that a trial trains.
    """

    width_px: int
    height_px: int
    image_tokens: int
    tokens: int
    checkpointed: bool
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
        """Peak of the tensors while the model is loaded and the images' features are computed."""
        return self.base_gib + self.encoders_gib + self.encoding_gib

    @property
    def step_gib(self) -> float:
        """Peak of training and validation: what `torch.cuda.max_memory_reserved` says."""
        return self.base_gib + self.adapters_gib + self.activations_gib + self.held_gib

    @property
    def card_gib(self) -> float:
        """What the card must have free."""
        return max(self.loading_gib, self.step_gib) + self.context_gib

    def fits(self, free_gib: float) -> bool:
        """Whether the trial runs on a card with so much free memory."""
        return self.card_gib <= free_gib


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
    folds: int = 1,
) -> MemoryEstimate:
    """The estimate for the model in `folder` and images of this size. Takes seconds, reads no weights.

    largest_r, any_dropout: of the search, since the steps of every trial are made for all of them. folds: adapters of a
    trial, of which one is in the store and all are kept beside it, moments included.

    Raises:
        UserError: the folder is no checkpoint, or `config` does not fit the model.
    """
    model = outline_of(folder)
    rank = max(config.lora.r, largest_r or 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _give_storage(model, torch.bfloat16 if precision == "bf16" else torch.float32)
        features, encoding = _encode(model, config, width_px, height_px)
        layers = _PartitionedLayers(model) if on_gpu else FusedLayers(model, compiled=False)
        encoders = total_bytes(tensor for name in _ENCODERS for tensor in _tensors(getattr(model, name)))
        kept = [name for name in _ENCODERS if (config.runs_sam2 if name == "sam_vision" else config.runs_vision)]
        in_steps = total_bytes(tensor for name in kept for tensor in _tensors(getattr(model, name)))
        base = total_bytes(_tensors(model)) - encoders + in_steps
        with LiveBytes(_tensors(model)) as live:
            store = make_store(
                model, config.lora, config.train.full_modules, rank=rank, drops=any_dropout,
                encoder=config.encoder, encoder_rank=config.encoder.r,
            )  # fmt: skip
            adapters = TrialAdapters(
                model, config.lora, config.train.full_modules, seed=0, store=store, encoder=config.encoder
            )
            towers = _PartitionedTowers(model) if on_gpu else Towers(model, compiled=False)
            stepper = Stepper(model, layers, store, world_size=1, towers=towers)
            stepper.reset(config.loss, config.optimizer, config.encoder.lr_factor, config.train.ema)
            kept_folds = [[tensor.clone() for tensor in stepper.state] for _ in range(folds if folds > 1 else 0)]
        trained = live.live
        stepper.checkpointed = checkpointed
        adapters.train(True)
        collator = Collator(
            model, token_multiple=TOKEN_MULTIPLE if on_gpu else 1, canvas_multiple=CANVAS_MULTIPLE if on_gpu else 1
        )
        example = _example(model, features, config, folder, width_px, height_px)
        with live:
            rehearse = _rehearse_with_graphs if on_gpu else _rehearse
            shape = rehearse(stepper, collator, example, config, live)
        del kept_folds
    return MemoryEstimate(
        width_px=width_px,
        height_px=height_px,
        image_tokens=len(features.image_tokens),
        tokens=shape.tokens,
        checkpointed=checkpointed,
        base_gib=base / 2**30,
        encoders_gib=(encoders - in_steps) / 2**30,
        adapters_gib=trained / 2**30,
        activations_gib=(live.peak - trained) / 2**30,
        held_gib=(live.allocator.peak - base - live.peak) / 2**30 if on_gpu else 0.0,
        encoding_gib=encoding / 2**30,
        context_gib=CUDA_CONTEXT_GIB if on_gpu else 0.0,
        trained_values=sum(values.numel() for values in adapters.parameters.values()),
    )


class _PartitionedLayers(FusedLayers):
    """The layers, which keep for the backward pass what compiled ones keep."""

    def __init__(self, model: Sa2VA) -> None:
        super().__init__(model, compiled=False)
        self._attend, self._feed_forward = partitioned(self._attend), partitioned(self._feed_forward)


class _PartitionedTowers(Towers):
    """The encoders as the compiled ones keep activations."""

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
    """Puts a fake tensor in the place of each meta one, under the mode that is entered."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=dtype)
                module._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    model.eval()


def choose_checkpointing(
    mode: MemoryMode, free_gib: float, estimate: Callable[[bool], MemoryEstimate]
) -> tuple[bool, MemoryEstimate]:
    """Whether to compute activations again in the backward pass in place of keeping them, and the estimate with that.

    fast: never; checkpoint: always, at a third more time a step; auto: only where a step would not fit otherwise.
    estimate: what is needed without (False) and with it (True).
    """
    plain = estimate(mode == "checkpoint")
    if mode != "auto" or plain.fits(free_gib):
        return mode == "checkpoint", plain
    return True, estimate(True)


def _encode(model: Sa2VA, config: TrialConfig, width_px: int, height_px: int) -> tuple[ImageFeatures, int]:
    """The features of an image of this size, and the most bytes that the encoders hold besides their weights."""
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
            # Qwen-VL's tower computes its windows from numbers, which fake tensors have not; SAM2's is the larger one.
            model.encode_sam(g_pixel_values)
            shapes = feature_shapes(dims, num_image_tokens(width_px, height_px, dims), raw_high_res=raw_high_res)
            tensors = {name: reference.new_empty(shape) for name, shape in shapes.items()}
            features = ImageFeatures(**tensors, grid=inputs.grid)
    return features, live.peak


def _example(
    model: Sa2VA, features: ImageFeatures, config: TrialConfig, folder: Path, width_px: int, height_px: int
) -> Example:
    with unset_fake_temporarily():  # the answer's length is a number
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


def _rehearse(stepper: Stepper, collator: Collator, example: Example, config: TrialConfig, live: LiveBytes) -> Shape:
    """An optimizer step and a batch of validation, on batches of `example` made as training makes them."""
    shape = _shape(collator, example, config)
    batch = collator.collate([example] * config.train.micro_batch_size, shape)
    stepper.accumulate(batch, shape, chunk_size=config.train.micro_batch_size)
    stepper.update(lr=config.optimizer.lr)
    del batch
    stepper.count(collator.collate([example], shape), shape)
    return shape


def _rehearse_with_graphs(
    stepper: Stepper, collator: Collator, example: Example, config: TrialConfig, live: LiveBytes
) -> Shape:
    """A first epoch as `Graphs` and `Feed` have it: the step is captured, then validation called and captured.

    The step's own first call is left out: whatever follows takes more. So is the update, one compiled kernel.
    """
    shape = _shape(collator, example, config)
    allocator, size = live.allocator, config.train.micro_batch_size
    workspaces = [_workspaces(live, pool) for pool in (GENERAL, GRAPHS)]

    def fed(num_images: int) -> list[Batch]:
        """The graph's own batch, the one in use, and the one on its way."""
        return [collator.collate([example] * num_images, shape) for _ in range(3)]

    steps = fed(size)
    with allocator.serving(GRAPHS):
        stepper.accumulate(steps[0], shape, chunk_size=size)
    del steps[1:]
    validation = fed(GPU_VALIDATION_BATCH)
    stepper.count(validation[1], shape)
    allocator.empty_cache()
    with allocator.serving(GRAPHS):
        stepper.count(validation[0], shape)
    stepper.store.values.abs()  # the trial's look at whether its weights move
    del workspaces
    return shape


def _workspaces(live: LiveBytes, pool: str) -> list[Tensor]:
    with live.allocator.serving(pool):
        return [torch.empty(_WORKSPACE_BYTES, dtype=torch.uint8) for _ in range(_NUM_WORKSPACES)]


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
