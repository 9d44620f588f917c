"""A linear module with a LoRA adapter.

It computes the same as PEFT's and is saved in PEFT's format. PEFT's own layer is not used because parameters must live
in an `AdapterStore`: rank, scale and dropout can then change between trials without a new compilation or capture, and
several trials can compute at once.
"""

from torch import Tensor, nn

from tune_sa2va.model.adapter_store import AdapterStore
from tune_sa2va.model.seats import scaled, seat_linear


class LoraLinear(nn.Module):
    """A linear module with an adapter: W x + b + scale B A dropout(x)."""

    def __init__(
        self,
        base_layer: nn.Linear,
        lora_a: nn.Parameter,
        lora_b: nn.Parameter,
        store: AdapterStore,
        *,
        place: int = 0,
        in_encoder: bool = False,
        third: int | None = None,
    ) -> None:
        """lora_a: (*K, R, in). lora_b: (*K, out, R), or (*K, 3 out, R) with `third`. *K, scale and dropout are those of
            the store. With several seats the first dimension of the input is images, ordered by seat.

        place: the module's number, for `AdapterStore.keep`.
        in_encoder: use the encoders' scale and no dropout. third: see `Target`.
        """
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B = base_layer, lora_a, lora_b
        self.store, self.in_encoder, self._place = store, in_encoder, place
        self._rows = None if third is None else (third * base_layer.out_features, base_layer.out_features)

    @property
    def scale(self) -> Tensor:
        """The scale of B A, by seat."""
        return self.store.encoder_scale if self.in_encoder else self.store.scale

    @property
    def own_b(self) -> Tensor:
        """B, or this module's third of it: (*K, out, R)."""
        return self.lora_B if self._rows is None else self.lora_B.narrow(-2, *self._rows)

    def forward(self, x: Tensor) -> Tensor:
        """The module's output for `x`, in the base's dtype (or autocast's)."""
        dropped = x if self.in_encoder else self.store.drop(x, self._place)
        return self.base_layer(x) + seat_linear(scaled(seat_linear(dropped, self.lora_A), self.scale), self.own_b)
