"""AdamW over flat tensors. Everything that changes between trials or steps is held on the device.

torch's AdamW bakes weight decay into a captured graph, so each value would need a capture of its own, and it cannot
skip a step without a round trip to the host. Here, if a gradient or loss is not finite, a select on the device keeps
weights and moments as they were, and `failure` records it.

With several seats in the store, every tensor has a leading dimension of seats: each trial has its own rates, norm and
clipping, moments, average and failure.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tune_sa2va.config import OptimizerSettings
from tune_sa2va.model.adapter_store import ALIGN, AdapterStore

_BETA_1, _BETA_2, _EPS = 0.9, 0.999, 1e-8


class FlatAdamW:
    """The optimizer of one adapter store. `reset` prepares a seat for a new trial.

    gradients: fp32, in the layout of `store.values`, summed by `accumulate`. The last of `ALIGN` more elements holds
        the step's loss, so that one reduction tells all workers whether it was finite.
    is_on: whether a seat takes part in the next steps; if not, its state stays as it is.
    encoder_factor: learning rate of the encoders' adapters relative to `lr`.
    average: running average of `store.values`, of seats that keep one; None before the first trial that does.
    decays: True where weight decay applies; False for parameters that no loss reaches (for example SAM2's IoU head).
    norm_sum: sum of gradient norms before clipping since it was last zeroed.
    failure: (1, loss, norm) of the first skipped step; zeros if there is none.
    """

    def __init__(self, store: AdapterStore, *, compiled: bool) -> None:
        values, lead = store.values, store.lead
        self._store = store
        self.gradients = values.new_zeros(*lead, store.numel + ALIGN)
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(values), torch.zeros_like(values)
        self.decays = torch.ones_like(values, dtype=torch.bool)
        self.encoder_factor = values.new_ones(lead)
        self.is_on = torch.ones(lead, device=values.device, dtype=torch.bool)
        self.average: Tensor | None = None
        self._averaging: set[int] = set()
        self.ema, self.lr, self.weight_decay, self.max_grad_norm, self.steps, self.norm_sum = (
            values.new_zeros(lead) for _ in range(6)
        )
        self.failure = values.new_zeros(*lead, 3)
        self._unreached: list[str] = []
        self._update: Callable[..., None] = torch.compile(_update) if compiled else _update
        self._add_to_average: Callable[..., None] = torch.compile(_add_to_average) if compiled else _add_to_average

    def reset(
        self, settings: OptimizerSettings, encoder_factor: float = 1.0, ema: float = 0.0, *, seat: int = 0
    ) -> None:
        """Clears all state of the seat's last trial. ema: decay of the running average, which starts at the store's
        current values; 0 keeps none."""
        of = self._store.of
        for tensor in (self.gradients, self.exp_avg, self.exp_avg_sq, self.steps, self.norm_sum, self.failure):
            of(tensor, seat).zero_()
        of(self.decays, seat).fill_(True)
        of(self.encoder_factor, seat).fill_(encoder_factor)
        of(self.ema, seat).fill_(ema)
        self._averaging.discard(seat)
        if ema > 0:
            self._averaging.add(seat)
            self.average = self._store.values.clone() if self.average is None else self.average
            of(self.average, seat).copy_(of(self._store.values, seat))
        of(self.weight_decay, seat).fill_(settings.weight_decay)
        of(self.max_grad_norm, seat).fill_(settings.max_grad_norm)

    def leave(self, seat: int) -> None:
        """Keeps no average for the seat any more."""
        self._averaging.discard(seat)

    @property
    def is_averaging(self) -> bool:
        """Whether any seat keeps a running average."""
        return bool(self._averaging)

    def accumulate(self, loss: Float[Tensor, "*K"]) -> None:
        """Adds the gradients of each seat's loss, and its value, to `gradients`. Does not wait for the device."""
        leaves, lead = list(self._store.leaves.values()), self._store.lead
        # A seat's values are reached by its own loss alone.
        found = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        pieces, sizes = [], [leaf.numel() // self._store.seats for leaf in leaves]
        for slot, leaf, gradient, size in zip(self._store.slots, leaves, found, sizes, strict=True):
            flat = leaf.new_zeros(*lead, size) if gradient is None else gradient.flatten(len(lead))
            pieces.append(flat)
            if slot.size > size:
                pieces.append(flat.new_zeros(*lead, slot.size - size))
        self._unreached = [
            slot.name for slot, gradient in zip(self._store.slots, found, strict=True) if gradient is None
        ]
        low = [piece for piece in pieces if piece.dtype == leaves[0].dtype]
        full = [piece for piece in pieces if piece.dtype != leaves[0].dtype]
        start = 0
        for part in (low, full):
            if part:
                joined = torch.cat(part, dim=-1)
                self.gradients[..., start : start + joined.shape[-1]] += joined
                start += joined.shape[-1]
        self.gradients[..., -1] += loss.detach()

    def spare_unreached(self) -> None:
        """Exempts parameters that the loss of the last `accumulate` did not reach from weight decay."""
        views = self._store.views(self.decays, self._store.rank, self._store.encoder_rank)
        for name in self._unreached:
            views[name].fill_(False)

    def step(self) -> None:
        """Clips the gradients, updates the weights and zeroes the gradients; only zeroes them if loss or gradient norm
        is not finite."""
        span = self._store.encoder_span
        self._update(
            self._store.values, self.gradients, self.exp_avg, self.exp_avg_sq, self.decays,
            self.lr, self.weight_decay, self.max_grad_norm, self.steps, self.norm_sum, self.failure,
            self.is_on, self.encoder_factor if span else None, span.start, span.stop,
        )  # fmt: skip
        self.gradients.zero_()
        self._store.refresh()
        if self.average is not None and self.is_averaging:
            self._add_to_average(self.average, self._store.values, self.ema, self.steps, self.is_on)

    def state(self, seat: int = 0) -> tuple[Tensor, ...]:
        """The seat's tensors that carry over from step to step, besides the store's values."""
        averages = () if self.average is None or seat not in self._averaging else (self.average,)
        whole = (self.exp_avg, self.exp_avg_sq, self.decays, self.steps, *averages)
        return tuple(self._store.of(tensor, seat) for tensor in whole)

    def swap_average(self, seat: int = 0) -> None:
        """Exchanges the seat's running average and the store's values; does nothing if no average is kept."""
        if self.average is None or seat not in self._averaging:
            return
        values, average = (self._store.of(tensor, seat) for tensor in (self._store.values, self.average))
        trained = values.clone()
        values.copy_(average)
        average.copy_(trained)
        self._store.refresh()

    def moments(self, rank: int, encoder_rank: int = 0, *, seat: int = 0) -> dict[str, Tensor]:
        """The tensors that a checkpoint stores, by `name|moment`. If an average is kept, also `name|value`: the trained
        values themselves, which are in `average` after `swap_average`."""
        kept = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        if self.average is not None and seat in self._averaging:
            kept["value"] = self.average
        return {
            f"{name}|{key}": view
            for key, flat in kept.items()
            for name, view in self._store.views(self._store.of(flat, seat), rank, encoder_rank).items()
        }

    @torch.no_grad()
    def load_moments(
        self, saved: Mapping[str, Tensor], rank: int, encoder_rank: int = 0, *, steps: int, seat: int = 0
    ) -> None:
        """Restores what `moments` returned after `steps` optimizer steps."""
        for name, view in self.moments(rank, encoder_rank, seat=seat).items():
            view.copy_(saved[name])
        self._store.of(self.steps, seat).fill_(steps)


@torch.no_grad()
def _update(
    values: Tensor, gradients: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, decays: Tensor,
    lr: Tensor, weight_decay: Tensor, max_grad_norm: Tensor, steps: Tensor, norm_sum: Tensor, failure: Tensor,
    is_on: Tensor, encoder_factor: Tensor | None, encoder_start: int, encoder_stop: int,
) -> None:  # fmt: skip
    """One step of AdamW (arXiv 1711.05101, as torch computes it) after clipping to `max_grad_norm`, in each seat.

    encoder_factor: multiplies the rate of elements `encoder_start` to `encoder_stop` - 1; None if there are none.
    """
    gradient, loss = gradients[..., : values.shape[-1]], gradients[..., -1]
    norm = torch.linalg.vector_norm(gradient, dim=-1)
    is_finite = norm.isfinite() & loss.isfinite()
    failure.copy_(
        torch.where(
            (is_finite | ~is_on | (failure[..., 0] > 0))[..., None],
            failure,
            torch.stack((torch.ones_like(norm), loss, norm), dim=-1),
        )
    )
    norm_sum.copy_(torch.where(is_on, norm_sum + norm, norm_sum))
    # From here on each seat's numbers stand beside its elements.
    lr, weight_decay, max_grad_norm = lr[..., None], weight_decay[..., None], max_grad_norm[..., None]
    if encoder_factor is not None:
        place = torch.arange(values.shape[-1], device=values.device)
        is_inside = (place >= encoder_start) & (place < encoder_stop)
        lr = torch.where(is_inside, lr * encoder_factor[..., None], lr)
    clipped = gradient * (max_grad_norm / (norm[..., None] + 1e-6)).clamp(max=1.0)
    new_steps = steps[..., None] + 1
    mean = exp_avg + (1 - _BETA_1) * (clipped - exp_avg)
    square = _BETA_2 * exp_avg_sq + (1 - _BETA_2) * clipped * clipped
    denominator = (square / (1 - _BETA_2**new_steps)).sqrt() + _EPS
    moved = values - values * (lr * weight_decay * decays) - lr / (1 - _BETA_1**new_steps) * mean / denominator
    steps_taken = (is_finite & is_on)[..., None]
    values.copy_(torch.where(steps_taken, moved, values))
    exp_avg.copy_(torch.where(steps_taken, mean, exp_avg))
    exp_avg_sq.copy_(torch.where(steps_taken, square, exp_avg_sq))
    steps.add_(is_finite & is_on)


@torch.no_grad()
def _add_to_average(average: Tensor, values: Tensor, ema: Tensor, steps: Tensor, is_on: Tensor) -> None:
    """average = k average + (1 - k) values, with k = min(ema, (1 + steps) / (10 + steps)), in seats that are on.

    The smaller k of early steps lets short trials forget their initial values (as in TensorFlow's
    ExponentialMovingAverage with num_updates).
    """
    kept = torch.where(is_on, torch.minimum(ema, (1 + steps) / (10 + steps)), 1.0)
    average.add_((values - average) * (1 - kept[..., None]))
