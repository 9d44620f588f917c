"""What a trial trains on top of a frozen base: LoRA on linear modules and, if configured, some modules in full.

The layer computes the same as PEFT's and is saved in PEFT's format. PEFT's own layer is not used because parameters
must live in an `AdapterStore`: rank, scale and dropout can then change between trials without a new compilation or
capture.

Detaching puts the original modules and parameters back. So the base is the same bit for bit, no copy of it is needed,
and it works after any error.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_sa2va.config import NO_ENCODER, EncoderSettings, FullModule, LoraSettings
from tune_sa2va.model.adapter_store import AdapterStore, Slot
from tune_sa2va.model.keymap import source_of
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import NATIVE_FULL_MODULES, Target, find_encoder_targets, find_targets

_ENCODERS = ("vision_model.", "mlp1.", "sam_vision.")

PEFT_PREFIX = "base_model.model."
"""PEFT's prefix of every name in adapter_model.safetensors."""


class LoraLinear(nn.Module):
    """A linear module with an adapter: W x + b + scale B A dropout(x)."""

    def __init__(
        self,
        base_layer: nn.Linear,
        lora_a: nn.Parameter,
        lora_b: nn.Parameter,
        store: AdapterStore,
        *,
        in_encoder: bool = False,
        third: int | None = None,
    ) -> None:
        """lora_a: (R, in). lora_b: (out, R), or (3 out, R) with `third`. Scale and dropout are those of the store.

        in_encoder: use the encoders' scale and no dropout. third: see `Target`.
        """
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B = base_layer, lora_a, lora_b
        self.store, self.in_encoder = store, in_encoder
        self._rows = None if third is None else (third * base_layer.out_features, base_layer.out_features)

    @property
    def scale(self) -> Tensor:
        """The scale of B A, 0-dim."""
        return self.store.encoder_scale if self.in_encoder else self.store.scale

    @property
    def own_b(self) -> Tensor:
        """B, or this module's third of it: (out, R)."""
        return self.lora_B if self._rows is None else self.lora_B.narrow(0, *self._rows)

    def forward(self, x: Tensor) -> Tensor:
        """The module's output for `x`, in the base's dtype (or autocast's)."""
        dropped = x if self.in_encoder else self.store.drop(x)
        return self.base_layer(x) + F.linear(F.linear(dropped, self.lora_A) * self.scale, self.own_b)


class TrialAdapters:
    """One trial's trainable parameters, attached to `model` until `detach`.

    parameters: the trial's values at its own rank, fp32 on any base, by their names in the reference's
        adapter_model.safetensors. After writing to them, call `store.refresh`.
    store: their storage, with the tensors that autograd differentiates (`store.leaves`).

    Modules trained in full are fp32 on a bf16 base, too, so run them under autocast (or cast their inputs). The model
    always stays in eval mode; `train` only switches the adapters' dropout, which is off at first.
    """

    def __init__(
        self,
        model: Sa2VA,
        lora: LoraSettings,
        full_modules: tuple[FullModule, ...],
        *,
        seed: int,
        store: AdapterStore | None = None,
        encoder: EncoderSettings = NO_ENCODER,
    ) -> None:
        """Attaches new adapters. A depends only on `seed` and the module's name; B is zero, so outputs do not change.

        store: from `make_store`, for the same modules and the same or larger ranks; None makes one.

        Raises:
            UserError: `lora.target_modules` or `encoder` names what cannot be trained (see `targets`).
        """
        targets = find_targets(model, lora.target_modules, full_modules)
        in_encoders = find_encoder_targets(model, encoder)
        self.store = store or make_store(
            model, lora, full_modules, rank=lora.r, encoder=encoder, encoder_rank=encoder.r
        )
        self.parameters: dict[str, Tensor] = {}
        self._drops = lora.dropout > 0 or self.store.drops
        self._model = model
        self._base_modules = {target.native: model.get_submodule(target.native) for target in (*targets, *in_encoders)}
        self._base_parameters: dict[str, nn.Parameter] = {}
        try:
            self._fill((*targets, *in_encoders), lora, encoder, full_modules, seed)
            self._attach(targets, in_encoders, full_modules)
        except BaseException:  # also if memory runs out: the next trial must be able to use the base
            self.detach()
            raise

    @property
    def changes_encoders(self) -> bool:
        """Whether the adapters change an image encoder, so that the base's features cannot be used."""
        return any(name.startswith(_ENCODERS) for name in (*self._base_modules, *self._base_parameters))

    def train(self, mode: bool) -> None:
        """Switches the adapters' dropout on or off, and nothing else."""
        self.store.is_dropping = mode and self._drops

    def detach(self) -> None:
        """Restores the base exactly as it was. May be called more than once."""
        for name, module in self._base_modules.items():
            _set(self._model, name, module)
        for name, parameter in self._base_parameters.items():
            _set(self._model, name, parameter)
        self._base_modules, self._base_parameters, self.parameters = {}, {}, {}

    @torch.no_grad()
    def _fill(
        self,
        targets: Sequence[Target],
        lora: LoraSettings,
        encoder: EncoderSettings,
        full_modules: tuple[FullModule, ...],
        seed: int,
    ) -> None:
        store = self.store
        store.values.zero_()
        store.scale.fill_(scale_of(lora, lora))
        store.encoder_scale.fill_(scale_of(encoder, lora))
        store.dropout.fill_(lora.dropout)
        store.is_dropping = False
        is_whole = _is_whole(store, lora.r, encoder.r)
        self.parameters = dict(store.leaves) if is_whole else store.views(store.values, lora.r, encoder.r)
        for reference in dict.fromkeys(target.reference for target in targets):
            a = self.parameters[f"{PEFT_PREFIX}{reference}.lora_A.weight"]
            a.copy_(initial_a(reference, *a.shape, seed=seed))
        for name, reference in _full_parameters(self._model, full_modules).items():
            self.parameters[reference].copy_(self._model.get_parameter(name))
        store.refresh()

    def _attach(self, targets: list[Target], in_encoders: list[Target], full_modules: tuple[FullModule, ...]) -> None:
        for target in (*targets, *in_encoders):
            base, name = self._base_modules[target.native], PEFT_PREFIX + target.reference
            assert isinstance(base, nn.Linear), f"{target.native} is not linear"
            a, b = (self.store.leaves[f"{name}.lora_{part}.weight"] for part in "AB")
            adapted = LoraLinear(base, a, b, self.store, in_encoder=target in in_encoders, third=target.third)
            _set(self._model, target.native, adapted.eval())
        for name, reference in _full_parameters(self._model, full_modules).items():
            self._base_parameters[name] = self._model.get_parameter(name)
            _set(self._model, name, self.store.leaves[reference])


def make_store(
    model: Sa2VA,
    lora: LoraSettings,
    full_modules: tuple[FullModule, ...],
    *,
    rank: int,
    drops: bool = False,
    encoder: EncoderSettings = NO_ENCODER,
    encoder_rank: int = 0,
) -> AdapterStore:
    """A store for trials with these modules and ranks up to `rank` and `encoder_rank`, on the model's device.

    drops: see `AdapterStore`.

    Raises:
        UserError: `lora.target_modules` or `encoder` names what cannot be trained (see `targets`).
    """
    slots = []
    for target in find_targets(model, lora.target_modules, full_modules):
        slots += _slots(model, target, rank, in_encoder=False)
    for target in find_encoder_targets(model, encoder):
        if not target.third:  # None or 0: the other thirds have the same adapter
            slots += _slots(model, target, encoder_rank, in_encoder=True)
    for name, reference in _full_parameters(model, full_modules).items():
        slots.append(Slot(reference, tuple(model.get_parameter(name).shape), low=False))
    reference_tensor = model.no_mem_embed
    return AdapterStore(
        slots, rank, device=reference_tensor.device, dtype=reference_tensor.dtype, drops=drops,
        encoder_rank=encoder_rank,
    )  # fmt: skip


def _slots(model: Sa2VA, target: Target, rank: int, *, in_encoder: bool) -> list[Slot]:
    linear, name = model.get_submodule(target.native), PEFT_PREFIX + target.reference
    assert isinstance(linear, nn.Linear), f"{target.native} is not linear"
    rows = linear.out_features * (1 if target.third is None else 3)
    return [
        Slot(f"{name}.lora_A.weight", (rank, linear.in_features), low=True, rank_dim=0, in_encoder=in_encoder),
        Slot(f"{name}.lora_B.weight", (rows, rank), low=True, rank_dim=1, in_encoder=in_encoder),
    ]


def scale_of(adapters: LoraSettings | EncoderSettings, lora: LoraSettings) -> float:
    """The scale of B A of these adapters. If `lora.use_rslora` is on, it is rank-stabilised for all adapters."""
    return adapters.lora_alpha / (math.sqrt(adapters.r) if lora.use_rslora else adapters.r)


def initial_a(reference: str, r: int, in_features: int, *, seed: int) -> Tensor:
    """Initial A of one module, (r, in_features), with PEFT's distribution, fp32 on the CPU.

    It depends on `seed` and `reference`, the module's name, but not on which other modules have adapters.
    """
    digest = hashlib.sha256(f"{seed} {reference}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
    # As nn.Linear's initialisation: kaiming_uniform_ with a = sqrt(5).
    bound = 1 / math.sqrt(in_features)
    return torch.empty(r, in_features).uniform_(-bound, bound, generator=generator)


def _full_parameters(model: Sa2VA, full_modules: tuple[FullModule, ...]) -> dict[str, str]:
    """Native name -> name in the adapter file, for every tensor in the modules trained in full."""
    natives = [
        f"{NATIVE_FULL_MODULES[module]}.{leaf}"
        for module in full_modules
        for leaf, _ in model.get_submodule(NATIVE_FULL_MODULES[module]).named_parameters()
    ]
    return {native: PEFT_PREFIX + source_of(native, model.dims.family).keys[0] for native in natives}


def _is_whole(store: AdapterStore, rank: int, encoder_rank: int) -> bool:
    """Whether the leaves are the values themselves, without padding and without copies in another dtype."""
    is_padded = store.rank != rank or (len(store.encoder_span) > 0 and store.encoder_rank != encoder_rank)
    return not is_padded and all(leaf.dtype == torch.float32 for leaf in store.leaves.values())


def _set(model: nn.Module, name: str, value: nn.Module | nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, value)
