"""The parts of an optimizer step, on static tensors: gradients of a batch, the sum over workers, the update.

The images of one optimizer step are a chunk, and each worker takes a share of it. Each image's loss is divided by the
chunk's size and gradients are summed, so two workers with one image each compute the same step as one worker with two
images. (DDP is not used: adapters change with every trial, and all it would add is one all-reduce of a flat tensor
after the last backward pass.)

With several seats in the store, the images of a batch are ordered by seat, and each seat has its own loss, rates and
sums: whatever differs between the trials is a number on the device. A seat without an image in a batch gets any image
and a share of 0.

Only `check` and `failures` wait for the device: losses, counts and the flag for NaN stay there until they are read.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tune_sa2va.config import LossSettings, OptimizerSettings
from tune_sa2va.errors import NonFiniteError
from tune_sa2va.evaluate.batch import Batch, Shape, batch_counts, hidden_rows, mask_logits, on_canvas
from tune_sa2va.model.adapter_store import AdapterStore
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.seats import per_image
from tune_sa2va.model.towers import Towers
from tune_sa2va.train.graphs import Graphs
from tune_sa2va.train.look import seen_pictures, seen_tiles, seen_truth
from tune_sa2va.train.loss import Skeletons, Thin, combo_loss, soft_skeletons, thinned
from tune_sa2va.train.optimizer import FlatAdamW

LOSS_PARTS = ("total", "dice", "focal", "bce", "lm", "cldice", "focal_tversky")
_FIRST_NOISE = 2**17
"""Number of the first place where pictures get noise; those below belong to dropout."""
_NO_LOSS = LossSettings.model_construct(dice=0.0, focal=0.0, bce=0.0)
"""What an empty seat has. Not a valid trial's settings, as nothing would train the masks."""


class LossKnobs(NamedTuple):
    """The numbers of `LossSettings` as tensors on the device, one per seat (or image, in `each`), so that they can
    change without capturing a new graph.

    cldice, focal_tversky: None where no trial has a weight on that part; it is then not computed.
    """

    dice: Tensor
    focal: Tensor
    bce: Tensor
    lm: Tensor
    focal_alpha: Tensor
    focal_gamma: Tensor
    cldice: Tensor | None
    focal_tversky: Tensor | None
    focal_tversky_alpha: Tensor
    focal_tversky_beta: Tensor
    focal_tversky_gamma: Tensor

    @classmethod
    def on(cls, store: AdapterStore) -> "LossKnobs":
        """Those of settings whose weights are 0, for each seat."""
        return cls(*(store.values.new_full(store.lead, getattr(_NO_LOSS, name)) for name in cls._fields))

    def only(self, *, cldice: bool, focal_tversky: bool) -> "LossKnobs":
        """These tensors, with None for the parts that are left out."""
        return self._replace(
            cldice=self.cldice if cldice else None, focal_tversky=self.focal_tversky if focal_tversky else None
        )

    def each(self, images: Float[Tensor, " KB"]) -> "LossKnobs":
        """The numbers for each image of a batch, which is ordered by seat."""
        return LossKnobs(*(None if knob is None else per_image(knob, images) for knob in self))  # type: ignore[arg-type]

    @property
    def parts(self) -> tuple[bool, bool]:
        """Whether soft-clDice and focal Tversky are computed. Each combination needs a graph of its own."""
        return self.cldice is not None, self.focal_tversky is not None


def batch_loss(
    model: Sa2VA,
    batch: Batch,
    masks: Float[Tensor, "B S S"],
    hidden: Float[Tensor, "B R D"],
    knobs: LossKnobs,
    skeletons: Skeletons | None = None,
) -> tuple[Float[Tensor, "B 7"], Int[Tensor, "B 4"]]:
    """Each image's loss parts, in the order of LOSS_PARTS, and its pixel counts TP, FP, FN, TN.

    The total is weighted, the parts are not; a part that is computed only for another seat is 0. masks: logits on the
    mask decoder's grid. hidden: states of the [SEG] row and, if the answer is scored, of the rows that predict its
    tokens. knobs: by seat. skeletons: as `combo_loss` takes them.
    """
    logits = on_canvas(batch, masks)
    valid = batch.valid()
    knobs = knobs.each(logits[:, 0, 0])
    parts = combo_loss(logits, batch.truth.to(logits.dtype), knobs, valid, skeletons)
    if batch.answer_ids.shape[1]:
        # Mean cross entropy over the answer's tokens and its end token.
        scores = model.logits(hidden[:, 1:]).float()
        lm_loss = F.cross_entropy(scores.transpose(1, 2), batch.answer_ids, reduction="none").mean(dim=1)
        lm_loss = torch.where(knobs.lm > 0, lm_loss, 0.0)
    else:
        lm_loss = torch.zeros_like(parts.total)
    total = parts.total + knobs.lm * lm_loss
    cldice = parts.cldice if knobs.cldice is None else torch.where(knobs.cldice > 0, parts.cldice, 0.0)
    tversky = parts.focal_tversky
    tversky = tversky if knobs.focal_tversky is None else torch.where(knobs.focal_tversky > 0, tversky, 0.0)
    losses = (total, parts.dice, parts.focal, parts.bce, lm_loss, cldice, tversky)
    return torch.stack(losses, dim=1), batch_counts(logits.detach(), batch.truth, valid)


class Stepper:
    """Optimizer steps on one adapter store: the static tensors, the optimizer and the CUDA graphs that use them.

    losses: sums over this worker's images since they were last zeroed, by seat, in the order of LOSS_PARTS.
    checkpointed: whether activations are computed again in the backward pass.
    """

    def __init__(
        self, model: Sa2VA, layers: FusedLayers, store: AdapterStore, *, world_size: int, towers: Towers | None = None
    ) -> None:
        """towers: runs the encoders for batches that hold pixels; None builds it from `model`."""
        device = store.values.device
        self.store = store
        self._knobs = LossKnobs.on(store)
        self._settings: dict[int, LossSettings] = {}
        """Those of the trials that are seated."""
        self.optimizer = FlatAdamW(store, compiled=layers.compiled)
        self.losses = torch.zeros(*store.lead, len(LOSS_PARTS), device=device)
        self.checkpointed = False
        self._share = torch.ones(store.lead, device=device)
        self._model, self._layers = model, layers
        self._towers = towers or Towers(model, compiled=layers.compiled)
        self._world_size = world_size
        self._graphs = Graphs(device, enabled=layers.compiled)
        # Compiled separately: the mask decoder takes most of the compile time, and one version serves all image sizes.
        # Not dynamic: features that a step encodes lie in memory with their channels last, cached ones do not. With the
        # second kind strides would become symbolic, and convolutions of such a version failed on GPUs.
        self._masks: Callable[..., Tensor] = (
            torch.compile(mask_logits, dynamic=False) if layers.compiled else mask_logits
        )
        self._loss: Callable[..., tuple[Tensor, Tensor]] = torch.compile(batch_loss) if layers.compiled else batch_loss
        # An iteration by itself: the whole chain of poolings takes several times as long to compile (results/LOG.md).
        self._thin: Thin = torch.compile(thinned) if layers.compiled else thinned

    def reset(
        self,
        loss: LossSettings,
        optimizer: OptimizerSettings,
        encoder_factor: float = 1.0,
        ema: float = 0.0,
        *,
        seat: int = 0,
    ) -> None:
        """Prepares a seat for a new trial's first step.

        encoder_factor: learning rate of the encoders' adapters relative to the others'.
        ema: decay of the running average of the weights; 0 keeps none.
        """
        self._settings[seat] = loss
        self._turn_knobs(seat, loss)
        self.optimizer.reset(optimizer, encoder_factor, ema, seat=seat)
        self.store.of(self.losses, seat).zero_()

    def leave(self, seat: int) -> None:
        """Empties a seat: until its next `reset`, its images have no loss."""
        self._settings.pop(seat, None)
        self._turn_knobs(seat, _NO_LOSS)
        self.optimizer.leave(seat)

    @property
    def knobs(self) -> LossKnobs:
        """The loss of each seat, with the parts that some trial has a weight on."""
        chosen = self._settings.values()
        return self._knobs.only(
            cldice=any(loss.cldice > 0 for loss in chosen), focal_tversky=any(loss.focal_tversky > 0 for loss in chosen)
        )

    def state(self, seat: int = 0) -> tuple[Tensor, ...]:
        """The tensors that hold a training's complete state. After writing to them, call `store.refresh`."""
        return self.store.of(self.store.values, seat), *self.optimizer.state(seat)

    def accumulate(self, batch: Batch, shape: Shape, *, share: float | Tensor) -> Int[Tensor, "KB 4"]:
        """Adds the gradients of a batch. Returns its pixel counts, valid until the next call.

        share: 1 / images of all batches and workers in this optimizer step, by seat; 0 for a seat without an image.
        """
        _put(share, self._share)
        knobs = self.knobs
        variant = (self.store.is_dropping, self.checkpointed, *knobs.parts, bool(batch.view.numel()))
        return self._graphs.run("train", self._accumulate, batch, shape, variant=variant)

    def reduce(self) -> None:
        """Sums the gradients over all workers."""
        if self._world_size > 1:
            dist.all_reduce(self.optimizer.gradients)

    def spare_unreached(self) -> None:
        """Exempts parameters that no worker's loss reached in the current step from weight decay, for the whole trial.

        Later steps reach the same parameters.
        """
        self.optimizer.spare_unreached()
        if self._world_size > 1:
            decays = self.optimizer.decays.to(torch.uint8)
            dist.all_reduce(decays, dist.ReduceOp.MIN)
            self.optimizer.decays.copy_(decays)

    def update(self, lr: float | Tensor) -> None:
        """Clips the gradients, checks that they are finite, updates the weights and zeroes the gradients.

        lr: learning rate, by seat.
        """
        _put(lr, self.optimizer.lr)
        self._graphs.run_alone("averaged update" if self.optimizer.is_averaging else "update", self._update)

    def turn_on(self, seats: Iterable[int]) -> None:
        """Says which seats take part in the next updates. The others keep their state."""
        chosen = set(seats)
        on = torch.tensor([seat in chosen for seat in range(self.store.seats)])
        self.optimizer.is_on.copy_(on if self.store.lead else on[0])

    def count(self, batch: Batch, shape: Shape) -> Int[Tensor, "KB 4"]:
        """Pixel counts of every seat's predictions for a batch of B images, forward only; valid until the next call."""
        return self._graphs.run("count", self._count_repeated, batch, shape)

    def count_each(self, batch: Batch, shape: Shape) -> Int[Tensor, "KB 4"]:
        """As `count`, for a batch that has other images for each seat, ordered by seat."""
        return self._graphs.run("count each", self._count, batch, shape)

    def check(self) -> None:
        """Waits for the device and checks that every step so far was finite.

        Raises:
            NonFiniteError: a loss or gradient was NaN or infinite. That step left the weights unchanged.
        """
        for failure in self.failures().values():
            raise failure

    def failures(self) -> dict[int, NonFiniteError]:
        """Waits for the device. Returns the seats in which a loss or gradient was NaN or infinite in some step. That
        step left the weights unchanged."""
        rows = self.optimizer.failure.view(-1, 3).tolist()
        return {
            seat: NonFiniteError(
                f"loss {loss}, gradient norm {norm}: not finite, so the weights were not changed. "
                f"A lower learning rate than {self.store.of(self.optimizer.lr, seat).item():.2g} usually helps."
            )
            for seat, (is_failed, loss, norm) in enumerate(rows)
            if is_failed
        }

    @property
    def num_graphs(self) -> int:
        """CUDA graphs captured so far; 0 on a CPU."""
        return len(self._graphs)

    def _accumulate(self, batch: Batch, shape: Shape) -> Tensor:
        batch = self._encoded(batch, shape)
        hidden = hidden_rows(self._model, self._layers, batch, shape, self.store, checkpointed=self.checkpointed)
        masks = self._masks(self._model, batch, hidden[:, 0])
        losses, counts = self._loss(self._model, batch, masks, hidden, self.knobs, self._skeletons(batch, masks))
        sums = losses.unflatten(0, (*self.store.lead, -1)).sum(dim=-2)
        self.optimizer.accumulate(sums[..., 0] * self._share)
        is_shown = self._share > 0
        self.losses += torch.where(is_shown[..., None], sums.detach(), 0.0)
        self.store.draws += is_shown
        return counts

    def _count_repeated(self, batch: Batch, shape: Shape) -> Tensor:
        return self._count(batch.repeated(self.store.seats), shape)

    def _skeletons(self, batch: Batch, masks: Tensor) -> Skeletons | None:
        """Those that the loss needs; None if no trial has a weight on soft-clDice."""
        if self.knobs.cldice is None:
            return None
        logits = on_canvas(batch, masks)
        return soft_skeletons(logits, batch.truth.to(logits.dtype), batch.valid(), thin=self._thin)

    @torch.no_grad()
    def _count(self, batch: Batch, shape: Shape) -> Tensor:
        batch = self._encoded(batch, shape)
        hidden = hidden_rows(self._model, self._layers, batch, shape, self.store)
        # Not compiled: it is as fast in a graph, and compiling the mask decoder again would add 40 s to a lane's start.
        logits = on_canvas(batch, mask_logits(self._model, batch, hidden[:, 0]))
        return batch_counts(logits, batch.truth, batch.valid())

    def _encoded(self, batch: Batch, shape: Shape) -> Batch:
        """The batch with features computed from its pixels, if it holds any, and with each image's view applied."""
        scale, checkpointed = self.store.encoder_scale, self.checkpointed
        is_viewed, places = bool(batch.view.numel()), count(_FIRST_NOISE, 2)

        def noise_like(pictures: Tensor) -> Tensor:
            return self.store.noise(tuple(pictures.shape), next(places))

        if batch.square.numel():
            pictures = batch.square / 255
            pictures = seen_pictures(pictures, batch.view, noise_like) if is_viewed else pictures
            embed, high_res_1, high_res_0 = self._towers.sam2(pictures, scale, checkpointed=checkpointed)
            batch = batch._replace(embed=embed, high_res_1=high_res_1, high_res_0=high_res_0)
        if batch.tiles.numel():
            assert shape.tiles is not None, "tiles have a grid"
            tiles = batch.tiles / 255
            tiles = seen_tiles(tiles, shape.tiles, batch.view, noise_like) if is_viewed else tiles
            batch = batch._replace(image_tokens=self._towers.vision(tiles, checkpointed=checkpointed))
        return batch._replace(truth=seen_truth(batch.truth, batch.valid(), batch.view)) if is_viewed else batch

    def _update(self) -> Tensor:
        self.optimizer.step()
        return self.optimizer.norm_sum

    def _turn_knobs(self, seat: int, settings: LossSettings) -> None:
        for name, tensor in zip(LossKnobs._fields, self._knobs, strict=True):
            assert tensor is not None, "all of them were made by `on`"
            self.store.of(tensor, seat).fill_(getattr(settings, name))


def _put(numbers: float | Tensor, to: Tensor) -> None:
    """Writes a number, or one for each seat, without waiting for the device."""
    if isinstance(numbers, Tensor):
        to.copy_(numbers, non_blocking=True)
    else:
        to.fill_(numbers)
