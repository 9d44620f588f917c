"""Where a trial's trained numbers live: one flat tensor that outlasts the trial, so that its CUDA graphs do too.

Every matrix is a view into one fp32 tensor (and so are gradients and moments, in `train.optimizer`): casting, clipping,
reducing over workers and the optimizer's step are a few kernels however many adapters there are. Matrices are laid out
for the largest rank of the search: a trial of rank r fills the first r rows of A and columns of B. The rest is zero and
stays so, since the gradient of each unused row of A is a product with an unused, zero column of B, and the other way
round.

A leading dimension of adapters (several trials on one base) would be one more dimension of the flat tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_ALIGN = 64
"""Every matrix starts at a multiple of so many elements: matrix kernels want 16-byte addresses."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One matrix. low: it is computed with in the base's dtype. rank_dim: the dimension that a smaller rank fills only
    in part (0 of A, 1 of B), or None. in_encoder: of an adapter in an image encoder, with that section's rank and
    learning rate."""

    name: str
    shape: tuple[int, ...]
    low: bool
    rank_dim: int | None = None
    in_encoder: bool = False

    @property
    def size(self) -> int:
        """Elements, padded to the alignment."""
        return -(-torch.Size(self.shape).numel() // _ALIGN) * _ALIGN


class AdapterStore:
    """Storage for the matrices of `slots`; `low` ones come first, and those in encoders last among them.

    values: fp32, what is trained and saved.
    leaves: by name, what modules compute with and what autograd differentiates: views of `values`, or copies in `dtype`
    that `refresh` renews.
    scale, dropout: 0-dim device tensors that every adapter of the trial reads; those in encoders read `encoder_scale`.
    encoder_span: where the encoders' matrices lie in the flat tensors; empty where there are none.
    drops: training applies dropout even where its probability is 0, so that one set of graphs serves every trial.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        rank: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        drops: bool = False,
        encoder_rank: int = 0,
    ) -> None:
        order = [(not slot.low, slot.in_encoder) for slot in slots]
        assert order == sorted(order)
        self.slots = tuple(slots)
        self.rank, self.encoder_rank, self.drops = rank, encoder_rank, drops
        self.numel = sum(slot.size for slot in slots)
        self._num_low = sum(slot.size for slot in slots if slot.low)
        self.values = torch.zeros(self.numel, device=device)
        self._low = None if dtype == torch.float32 else torch.zeros(self._num_low, device=device, dtype=dtype)
        self.scale, self.encoder_scale = torch.ones((), device=device), torch.ones((), device=device)
        stop, length = self._num_low, sum(slot.size for slot in slots if slot.in_encoder)
        self.encoder_span = range(stop - length, stop)
        self.dropout = torch.zeros((), device=device)
        self.is_dropping = False
        """Whether adapters apply dropout now. Part of what a graph is captured with; `dropout` is not."""
        self.leaves = {
            slot.name: nn.Parameter(view)
            for slot, view in zip(slots, self._pieces(self._low, self.values), strict=True)
        }

    def views(self, flat: Float[Tensor, " N"], rank: int, encoder_rank: int = 0) -> dict[str, Tensor]:
        """The matrices in `flat` (of the layout of `values`) by name, at a trial's own ranks."""
        pieces = self._pieces(None, flat)
        return {
            slot.name: piece
            if slot.rank_dim is None
            else piece.narrow(slot.rank_dim, 0, encoder_rank if slot.in_encoder else rank)
            for slot, piece in zip(self.slots, pieces, strict=True)
        }

    def refresh(self) -> None:
        """Renew the copies that modules compute with; call it after every change of `values`."""
        if self._low is not None:
            self._low.copy_(self.values[: self._num_low])

    def drop(self, x: Tensor) -> Tensor:
        """Dropout of an adapter's input, by the tensor `dropout`, where it is on."""
        if not self.is_dropping:
            return x
        return x * self.keep(x) / (1 - self.dropout).to(x.dtype)

    def keep(self, x: Tensor) -> Tensor:
        """A random mask of `x`'s shape, True with probability 1 - `dropout`."""
        return torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - self.dropout)

    def _pieces(self, low: Tensor | None, flat: Tensor) -> list[Tensor]:
        pieces, offset = [], 0
        for slot in self.slots:
            source = low if slot.low and low is not None else flat
            pieces.append(source[offset : offset + torch.Size(slot.shape).numel()].view(slot.shape))
            offset += slot.size
        return pieces
