"""What a trial trains on top of a frozen base: LoRA on linear modules and, if configured, some modules in full.

The values are in an `AdapterStore`, and an `Attachment` puts them into the model.
"""

import hashlib
import math

import torch
from torch import Tensor, nn

from tune_sa2va.config import NO_ENCODER, EncoderSettings, FullModule, LoraSettings, TrialConfig
from tune_sa2va.model.adapter_store import AdapterStore, Slot
from tune_sa2va.model.attachment import PEFT_PREFIX, Attachment
from tune_sa2va.model.keymap import source_of
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import NATIVE_FULL_MODULES, Target, find_encoder_targets, find_targets

_LORA_A = ".lora_A.weight"


class TrialAdapters:
    """One trial's trainable parameters, attached to `model` until `detach`.

    parameters: the trial's values at its own rank, fp32 on any base, by their names in the reference's
        adapter_model.safetensors. After writing to them, call `store.refresh`.
    store: their storage, with the tensors that autograd differentiates (`store.leaves`).
    seat: which part of the store is the trial's.
    drops: whether training applies dropout, with a probability that may be 0.

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
        seat: int = 0,
        beside: "TrialAdapters | None" = None,
    ) -> None:
        """Attaches new adapters. A depends only on `seed` and the module's name; B is zero, so outputs do not change.

        store: from `make_store`, for the same modules and the same or larger ranks; None makes one.
        seat: a free one of the store. beside: attached adapters in another seat of it, if there are any.

        Raises:
            UserError: `lora.target_modules` or `encoder` names what cannot be trained (see `targets`).
        """
        if beside is None:
            targets = find_targets(model, lora.target_modules, full_modules)
            in_encoders = find_encoder_targets(model, encoder)
            full = _full_parameters(model, full_modules)
        self.store = store or make_store(
            model, lora, full_modules, rank=lora.r, encoder=encoder, encoder_rank=encoder.r
        )
        self.seat = seat
        self.drops = lora.dropout > 0 or self.store.drops
        self.parameters: dict[str, Tensor] = {}
        self._attachment: Attachment | None = (
            Attachment(model, self.store, targets, in_encoders, full) if beside is None else beside._joined()
        )
        try:
            self._fill(self._attachment, lora, encoder, seed)
        except BaseException:  # also if memory runs out: the next trial must be able to use the base
            self.detach()
            raise

    @property
    def is_attached(self) -> bool:
        """Whether the model computes with these adapters."""
        return self._attachment is not None

    @property
    def changes_encoders(self) -> bool:
        """Whether the adapters change an image encoder, so that the base's features cannot be used."""
        return self._attachment is not None and self._attachment.changes_encoders

    def train(self, mode: bool) -> None:
        """Switches the adapters' dropout on or off, and nothing else."""
        self.store.is_dropping = mode and self.drops

    def detach(self) -> None:
        """Restores the base exactly as it was, once no trial beside this one is left. May be called more than once."""
        attachment, self._attachment, self.parameters = self._attachment, None, {}
        if attachment is not None:
            attachment.leave()

    def _joined(self) -> Attachment:
        assert self._attachment is not None, "only adapters that are attached have others beside them"
        return self._attachment.join()

    @torch.no_grad()
    def _fill(self, attachment: Attachment, lora: LoraSettings, encoder: EncoderSettings, seed: int) -> None:
        store, seat = self.store, self.seat
        values = store.of(store.values, seat)
        values.zero_()
        store.of(store.scale, seat).fill_(scale_of(lora, lora))
        store.of(store.encoder_scale, seat).fill_(scale_of(encoder, lora))
        store.of(store.dropout, seat).fill_(lora.dropout)
        store.is_dropping = False
        is_whole = _is_whole(store, lora.r, encoder.r)
        self.parameters = dict(store.leaves) if is_whole else store.views(values, lora.r, encoder.r)
        for name, value in self.parameters.items():
            if name.endswith(_LORA_A):
                reference = name.removeprefix(PEFT_PREFIX).removesuffix(_LORA_A)
                value.copy_(initial_a(reference, *value.shape, seed=seed))
        for name, initial in attachment.initial.items():
            self.parameters[name].copy_(initial)
        store.refresh()


def attached(model: Sa2VA, config: TrialConfig, store: AdapterStore) -> list[TrialAdapters]:
    """New adapters of one configuration in every seat of a store, each with the seat's number as its seed."""
    adapters: list[TrialAdapters] = []
    for seat in range(store.seats):
        adapters.append(
            TrialAdapters(
                model, config.lora, config.train.full_modules, seed=seat, store=store, encoder=config.encoder,
                seat=seat, beside=adapters[0] if adapters else None,
            )
        )  # fmt: skip
    return adapters


def make_store(
    model: Sa2VA,
    lora: LoraSettings,
    full_modules: tuple[FullModule, ...],
    *,
    rank: int,
    drops: bool = False,
    encoder: EncoderSettings = NO_ENCODER,
    encoder_rank: int = 0,
    seats: int = 1,
) -> AdapterStore:
    """A store for trials with these modules and ranks up to `rank` and `encoder_rank`, on the model's device.

    drops, seats: see `AdapterStore`.

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
        encoder_rank=encoder_rank, seats=seats,
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
    """Whether the leaves are the values themselves: of one seat, without padding, not copied in another dtype."""
    is_padded = store.rank != rank or (len(store.encoder_span) > 0 and store.encoder_rank != encoder_rank)
    return store.seats == 1 and not is_padded and all(leaf.dtype == torch.float32 for leaf in store.leaves.values())
