"""AdamW over flat tensors. Everything that changes between trials or steps is held on the device.

torch's AdamW bakes weight decay into a captured graph, so each value would need a capture of its own, and it cannot
skip a step without a round trip to the host. Here, if a gradient or loss is not finite, a select on the device keeps
weights and moments as they were, and `failure` records it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tune_sa2va.config import OptimizerSettings
from tune_sa2va.model.adapter_store import AdapterStore

_BETA_1, _BETA_2, _EPS = 0.9, 0.999, 1e-8


class FlatAdamW:
    """The optimizer of one adapter store. `reset` prepares it for a new trial.

    gradients: fp32, in the layout of `store.values`, summed by `accumulate`. One more element at the end holds the
        step's loss, so that one reduction tells all workers whether it was finite.
    encoder_factor: learning rate of the encoders' adapters relative to `lr`.
    average: running average of `store.values`, kept while `is_averaging`; None before the first trial that keeps one.
    decays: True where weight decay applies; False for parameters that no loss reaches (for example SAM2's IoU head).
    norm_sum: sum of gradient norms before clipping since it was last zeroed.
    failure: (1, loss, norm) of the first skipped step; zeros if there is none.
    """

    def __init__(self, store: AdapterStore, *, compiled: bool) -> None:
        values = store.values
        self._store = store
        self.gradients = values.new_zeros(store.numel + 1)
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(values), torch.zeros_like(values)
        self.decays = torch.ones_like(values, dtype=torch.bool)
        self.encoder_factor = torch.ones_like(values[0])
        self.average: Tensor | None = None
        self.is_averaging = False
        self.ema = torch.zeros_like(values[0])
        self.lr, self.weight_decay, self.max_grad_norm, self.steps, self.norm_sum = (
            values.new_zeros(()) for _ in range(5)
        )
        self.failure = values.new_zeros(3)
        self._unreached: list[str] = []
        self._update: Callable[..., None] = torch.compile(_update) if compiled else _update
        self._add_to_average: Callable[..., None] = torch.compile(_add_to_average) if compiled else _add_to_average

    def reset(self, settings: OptimizerSettings, encoder_factor: float = 1.0, ema: float = 0.0) -> None:
        """Clears all state of the last trial. ema: decay of the running average, which starts at the store's current
        values; 0 keeps none."""
        for tensor in (self.gradients, self.exp_avg, self.exp_avg_sq, self.steps, self.norm_sum, self.failure):
            tensor.zero_()
        self.decays.fill_(True)
        self.encoder_factor.fill_(encoder_factor)
        self.is_averaging = ema > 0
        self.ema.fill_(ema)
        if self.is_averaging:
            self.average = torch.empty_like(self._store.values) if self.average is None else self.average
            self.average.copy_(self._store.values)
        self.weight_decay.fill_(settings.weight_decay)
        self.max_grad_norm.fill_(settings.max_grad_norm)

    def accumulate(self, loss: Tensor) -> None:
        """Adds the gradients of `loss`, and its value, to `gradients`. Does not wait for the device."""
        leaves = list(self._store.leaves.values())
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        pieces = []
        for slot, leaf, gradient in zip(self._store.slots, leaves, found, strict=True):
            flat = leaf.new_zeros(leaf.numel()) if gradient is None else gradient.flatten()
            pieces.append(flat)
            if slot.size > leaf.numel():
                pieces.append(flat.new_zeros(slot.size - leaf.numel()))
        self._unreached = [
            slot.name for slot, gradient in zip(self._store.slots, found, strict=True) if gradient is None
        ]
        low = [piece for piece in pieces if piece.dtype == leaves[0].dtype]
        full = [piece for piece in pieces if piece.dtype != leaves[0].dtype]
        start = 0
        for part in (low, full):
            if part:
                joined = torch.cat(part)
                self.gradients[start : start + len(joined)] += joined
                start += len(joined)
        self.gradients[-1] += loss.detach()

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
            self.encoder_factor if span else None, span.start, span.stop,
        )  # fmt: skip
        self.gradients.zero_()
        self._store.refresh()
        if self.average is not None and self.is_averaging:
            self._add_to_average(self.average, self._store.values, self.ema, self.steps)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """The tensors that carry over from step to step, besides the store's values."""
        averages = () if self.average is None or not self.is_averaging else (self.average,)
        return self.exp_avg, self.exp_avg_sq, self.decays, self.steps, *averages

    def swap_average(self) -> None:
        """Exchanges the running average and the store's values; does nothing if no average is kept."""
        if self.average is None or not self.is_averaging:
            return
        values = self._store.values.clone()
        self._store.values.copy_(self.average)
        self.average.copy_(values)
        self._store.refresh()

    def moments(self, rank: int, encoder_rank: int = 0) -> dict[str, Tensor]:
        """The tensors that a checkpoint stores, by `name|moment`. If an average is kept, also `name|value`: the trained
        values themselves, which are in `average` after `swap_average`."""
        kept = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        if self.average is not None and self.is_averaging:
            kept["value"] = self.average
        return {
            f"{name}|{key}": view
            for key, flat in kept.items()
            for name, view in self._store.views(flat, rank, encoder_rank).items()
        }

    @torch.no_grad()
    def load_moments(self, saved: Mapping[str, Tensor], rank: int, encoder_rank: int = 0, *, steps: int) -> None:
        """Restores what `moments` returned after `steps` optimizer steps."""
        for name, view in self.moments(rank, encoder_rank).items():
            view.copy_(saved[name])
        self.steps.fill_(steps)


@torch.no_grad()
def _update(
    values: Tensor, gradients: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, decays: Tensor,
    lr: Tensor, weight_decay: Tensor, max_grad_norm: Tensor, steps: Tensor, norm_sum: Tensor, failure: Tensor,
    encoder_factor: Tensor | None, encoder_start: int, encoder_stop: int,
) -> None:  # fmt: skip
    """One step of AdamW (arXiv 1711.05101, as torch computes it) after clipping to `max_grad_norm`.

    encoder_factor: multiplies the rate of elements `encoder_start` to `encoder_stop` - 1; None if there are none.
    """
    if encoder_factor is not None:
        place = torch.arange(len(values), device=values.device)
        lr = torch.where((place >= encoder_start) & (place < encoder_stop), lr * encoder_factor, lr)
    gradient, loss = gradients[:-1], gradients[-1]
    norm = torch.linalg.vector_norm(gradient)
    is_finite = norm.isfinite() & loss.isfinite()
    clipped = gradient * (max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
    new_steps = steps + 1
    mean = exp_avg + (1 - _BETA_1) * (clipped - exp_avg)
    square = _BETA_2 * exp_avg_sq + (1 - _BETA_2) * clipped * clipped
    denominator = (square / (1 - _BETA_2**new_steps)).sqrt() + _EPS
    moved = values - values * (lr * weight_decay * decays) - lr / (1 - _BETA_1**new_steps) * mean / denominator
    first_failure = torch.stack((torch.ones_like(norm), loss, norm))
    failure.copy_(torch.where(is_finite | (failure[0] > 0), failure, first_failure))
    norm_sum.add_(norm)
    values.copy_(torch.where(is_finite, moved, values))
    exp_avg.copy_(torch.where(is_finite, mean, exp_avg))
    exp_avg_sq.copy_(torch.where(is_finite, square, exp_avg_sq))
    steps.copy_(torch.where(is_finite, new_steps, steps))


@torch.no_grad()
def _add_to_average(average: Tensor, values: Tensor, ema: Tensor, steps: Tensor) -> None:
    """average = k average + (1 - k) values, with k = min(ema, (1 + steps) / (10 + steps)).

    The smaller k of early steps lets short trials forget their initial values (as in TensorFlow's
    ExponentialMovingAverage with num_updates).
    """
    kept = torch.minimum(ema, (1 + steps) / (10 + steps))
    average.add_((values - average) * (1 - kept))
