"""Storage of a trial's trained parameters: one flat tensor that outlives the trial, so that CUDA graphs do, too.

Every matrix is a view into one fp32 tensor (and so are gradients and moments, in `train.optimizer`). So casting,
clipping, reducing over workers and the optimizer's step take a few kernels, however many adapters there are. Matrices
are laid out for the largest rank of the search: a trial of rank r uses the first r rows of A and columns of B. The rest
is zero and stays zero, since the gradient of an unused row of A is a product with an unused, zero column of B, and vice
versa.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_ALIGN = 64
"""Every matrix starts at a multiple of this many elements: matrix kernels need 16-byte alignment."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One matrix or other trained tensor.

    low: whether it is cast to the base's dtype for computing.
    rank_dim: the dimension that a smaller rank fills only in part (0 of A, 1 of B); None if it has none.
    in_encoder: whether it is part of an adapter in an image encoder, with the `encoder` section's rank and learning
        rate.
    """

    name: str
    shape: tuple[int, ...]
    low: bool
    rank_dim: int | None = None
    in_encoder: bool = False

    @property
    def size(self) -> int:
        """Number of elements, padded to the alignment."""
        return -(-torch.Size(self.shape).numel() // _ALIGN) * _ALIGN


class AdapterStore:
    """Storage for the matrices of `slots`. Slots with `low` must come first, and among them those in encoders last.

    rank, encoder_rank: ranks that matrices are laid out for.
    values: fp32, the parameters that are trained and saved.
    leaves: by name, the tensors that modules compute with and that autograd differentiates: views of `values`, or
        copies in `dtype` that `refresh` updates.
    scale, dropout: 0-dim device tensors that every adapter reads; adapters in encoders read `encoder_scale` instead.
    encoder_span: range of the encoders' matrices in the flat tensors; empty if there are none.
    drops: whether training applies dropout even if its probability is 0, so that one set of graphs serves all trials.
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
        """Whether adapters apply dropout now. A graph is captured for one value of it; `dropout` can change."""
        self.leaves = {
            slot.name: nn.Parameter(view)
            for slot, view in zip(slots, self._pieces(self._low, self.values), strict=True)
        }

    def views(self, flat: Float[Tensor, " N"], rank: int, encoder_rank: int = 0) -> dict[str, Tensor]:
        """The matrices in `flat` (in the layout of `values`) by name, cut to a trial's ranks."""
        pieces = self._pieces(None, flat)
        return {
            slot.name: piece
            if slot.rank_dim is None
            else piece.narrow(slot.rank_dim, 0, encoder_rank if slot.in_encoder else rank)
            for slot, piece in zip(self.slots, pieces, strict=True)
        }

    def refresh(self) -> None:
        """Updates the copies that modules compute with. Call it after every change of `values`."""
        if self._low is not None:
            self._low.copy_(self.values[: self._num_low])

    def drop(self, x: Tensor) -> Tensor:
        """Applies dropout with probability `dropout` to an adapter's input, if dropout is on."""
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
