"""Storage of the trained parameters of one trial, or of several with a seat each: a flat tensor that outlives them, so
that CUDA graphs do, too.

Every matrix is a view into one fp32 tensor (and so are gradients and moments, in `train.optimizer`). So casting,
clipping, reducing over workers and the optimizer's step take a few kernels, however many adapters there are. Matrices
are laid out for the largest rank of the search: a trial of rank r uses the first r rows of A and columns of B. The rest
is zero and stays zero, since the gradient of an unused row of A is a product with an unused, zero column of B, and vice
versa.

With K seats, every tensor has a leading dimension K (see `seats`), so that the kernels stay as few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tune_sa2va.model.dropout import keep_mask, noise, seeds_of
from tune_sa2va.model.seats import per_image

ALIGN = 64
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
        return -(-torch.Size(self.shape).numel() // ALIGN) * ALIGN


class AdapterStore:
    """Storage for the matrices of `slots`. Slots with `low` must come first, and among them those in encoders last.

    rank, encoder_rank: ranks that matrices are laid out for.
    seats: trials that have their values here; `of` gives one's part of a tensor.
    values: fp32, the parameters that are trained and saved.
    leaves: by name, the tensors that modules compute with and that autograd differentiates: views of `values`, or
        copies in `dtype` that `refresh` updates.
    scale, dropout: device tensors with a number per seat that every adapter reads; adapters in encoders read
        `encoder_scale` instead.
    seeds, draws: what dropout masks depend on, see `keep_mask`; set by `seed`.
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
        seats: int = 1,
    ) -> None:
        order = [(not slot.low, slot.in_encoder) for slot in slots]
        assert order == sorted(order)
        self.slots = tuple(slots)
        self.rank, self.encoder_rank, self.drops = rank, encoder_rank, drops
        self.seats = seats
        self.lead = () if seats == 1 else (seats,)
        """The leading dimensions of every tensor: one if there are several seats, otherwise none."""
        self.numel = sum(slot.size for slot in slots)
        self._num_low = sum(slot.size for slot in slots if slot.low)
        self.values = torch.zeros(*self.lead, self.numel, device=device)
        is_fp32 = dtype == torch.float32
        self._low = None if is_fp32 else torch.zeros(*self.lead, self._num_low, device=device, dtype=dtype)
        self.scale, self.encoder_scale = (torch.ones(self.lead, device=device) for _ in range(2))
        stop, length = self._num_low, sum(slot.size for slot in slots if slot.in_encoder)
        self.encoder_span = range(stop - length, stop)
        self.dropout = torch.zeros(self.lead, device=device)
        self.seeds = torch.zeros(*self.lead, 2, device=device, dtype=torch.int64)
        self.draws = torch.zeros(self.lead, device=device, dtype=torch.int64)
        self.is_dropping = False
        """Whether adapters apply dropout now. A graph is captured for one value of it; `dropout` can change."""
        self.leaves = {
            slot.name: nn.Parameter(view)
            for slot, view in zip(slots, self._pieces(self._low, self.values), strict=True)
        }

    def of(self, tensor: Tensor, seat: int) -> Tensor:
        """One seat's part of a tensor that has a leading dimension of seats if there are several. A view."""
        return tensor[seat] if self.lead else tensor

    def seed(self, seat: int, seed: int) -> None:
        """Begins the seat's dropout masks anew."""
        self.of(self.seeds, seat).copy_(torch.tensor(seeds_of(seed)))
        self.of(self.draws, seat).zero_()

    def views(self, flat: Float[Tensor, "*K N"], rank: int, encoder_rank: int = 0) -> dict[str, Tensor]:
        """The matrices in `flat` (all seats' or one's, in the layout of `values`) by name, cut to a trial's ranks."""
        pieces = self._pieces(None, flat)
        return {
            slot.name: piece
            if slot.rank_dim is None
            else piece.narrow(slot.rank_dim - len(slot.shape), 0, encoder_rank if slot.in_encoder else rank)
            for slot, piece in zip(self.slots, pieces, strict=True)
        }

    def refresh(self) -> None:
        """Updates the copies that modules compute with. Call it after every change of `values`."""
        if self._low is not None:
            self._low.copy_(self.values[..., : self._num_low])

    def drop(self, x: Float[Tensor, "KB ..."], place: int) -> Float[Tensor, "KB ..."]:
        """Applies dropout with probability `dropout` to an adapter's input, if dropout is on. place: see `keep`."""
        if not self.is_dropping:
            return x
        return x * self.keep(tuple(x.shape), place) / per_image((1 - self.dropout).to(x.dtype), x)

    def keep(self, shape: tuple[int, ...], place: int) -> Bool[Tensor, "KB ..."]:
        """A random mask, True with probability 1 - `dropout`. place: in the model; no two that drop share a number."""
        return keep_mask(shape, place, self.seeds, self.draws, self.dropout)

    def noise(self, shape: tuple[int, ...], place: int) -> Float[Tensor, "KB ..."]:
        """Standard normal numbers. place: as in `keep`; it takes two."""
        return noise(shape, place, self.seeds, self.draws)

    def _pieces(self, low: Tensor | None, flat: Tensor) -> list[Tensor]:
        pieces, offset = [], 0
        for slot in self.slots:
            source = low if slot.low and low is not None else flat
            piece = source[..., offset : offset + torch.Size(slot.shape).numel()]
            pieces.append(piece.view(*source.shape[:-1], *slot.shape))
            offset += slot.size
        return pieces
