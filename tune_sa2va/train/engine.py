"""What a worker keeps between trials so that the next one starts at once: fused layers, storage and CUDA graphs."""

import logging
from collections.abc import Hashable

import torch

from tune_sa2va.config import TrialConfig
from tune_sa2va.evaluate.batch import Collator
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.lora import TrialAdapters, make_store
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.towers import Towers
from tune_sa2va.train.checkpoint import CheckpointWriter
from tune_sa2va.train.feed import Feed
from tune_sa2va.train.step import Stepper
from tune_sa2va.train.step_kind import sits_alone, step_kind

log = logging.getLogger(__name__)

# Graphs and compiled kernels are made per shape, so on a GPU sizes are rounded up to few shapes. On a CPU they are not,
# since padding would only cost time.
_TOKEN_MULTIPLE, _CANVAS_MULTIPLE = 16, 256
_GPU_VALIDATION_BATCH, _CHECKPOINTED_VALIDATION_BATCH = 8, 2


def gpu_validation_batch(*, checkpointed: bool) -> int:
    """Images of a validation batch on a GPU.

    Where activations are computed again to save memory, few: with an encoder in the steps, 8 images would take more
    than a step (the 8B at 512x512 25.4 GiB in place of 20.3, by the estimate).
    """
    return _CHECKPOINTED_VALIDATION_BATCH if checkpointed else _GPU_VALIDATION_BATCH


class Engine:
    """One base model, ready for as many trials at a time as it has seats.

    Trials can sit together if they differ in nothing but numbers on the device; see `has_seat`.
    """

    def __init__(
        self,
        model: Sa2VA,
        *,
        max_rank: int | None = None,
        any_dropout: bool = False,
        world_size: int = 1,
        eager: bool = False,
        max_encoder_rank: int | None = None,
        seats: int = 1,
    ) -> None:
        """max_rank, any_dropout, max_encoder_rank: see `LaneSettings`.

        eager: neither compile nor capture graphs on a GPU. A CPU is always eager.
        """
        self.model = model
        self.device = model.no_mem_embed.device
        on_gpu = self.device.type == "cuda"
        self.layers = FusedLayers(model, compiled=on_gpu and not eager)
        self.towers = Towers(model, compiled=on_gpu and not eager)
        self._max_encoder_rank = max_encoder_rank
        self._max_rank, self._any_dropout, self._world_size = max_rank, any_dropout, world_size
        self.collator = Collator(
            model, token_multiple=_TOKEN_MULTIPLE if on_gpu else 1, canvas_multiple=_CANVAS_MULTIPLE if on_gpu else 1
        )
        self.writer = CheckpointWriter(model)
        self._copies = torch.cuda.Stream(self.device) if on_gpu else None
        self.checkpointed = False
        """Whether activations are computed again in the backward pass in place of being kept."""
        self.seats = seats
        """Most trials that can sit here at a time; `change_seats` changes it."""
        self._key: Hashable = None
        self._stepper: Stepper | None = None
        self._sitting: list[TrialAdapters] = []
        self._together: Hashable = None

    def change_seats(self, seats: int) -> None:
        """Changes the number of seats, while nobody sits here."""
        assert not self._seated(), "seats can be counted anew while nobody sits"
        if seats == self.seats:
            return
        self.forget()
        self.seats = seats
        if self.layers.compiled:
            # A kernel that was compiled for one batch size is compiled for any when it meets the second. So the kernels
            # would depend on the numbers of seats that were tried before.
            torch.compiler.reset()

    def stepper(self, config: TrialConfig) -> Stepper:
        """Storage and graphs for a trial of `config`: those of the previous trial, if modules and ranks allow it.

        Raises:
            UserError: `lora.target_modules` or `encoder` names what cannot be trained.
        """
        key = self._key_of(config)
        if self._stepper is None or key != self._key:
            assert not self._seated(), "a trial that needs other graphs waits until all seats are empty"
            self.forget()
            encoder = config.encoder
            store = make_store(
                self.model, config.lora, config.train.full_modules, rank=self._rank(config), drops=self._drops(config),
                encoder=encoder, encoder_rank=self._encoder_rank(config), seats=self._seats(config),
            )  # fmt: skip
            self._stepper = Stepper(self.model, self.layers, store, world_size=self._world_size, towers=self.towers)
            self._key = key
        self._stepper.checkpointed = self.checkpointed
        return self._stepper

    @property
    def validation_batch(self) -> int:
        """Images of a validation batch, all seats together."""
        return gpu_validation_batch(checkpointed=self.checkpointed) if self.device.type == "cuda" else 1

    def has_seat(self, config: TrialConfig) -> bool:
        """Whether a trial of `config` can begin now. If not, it waits until those that sit here leave.

        Trials sit together if they train the same modules with steps of as many images, which all are augmented by
        views or none. A trial that trains the neck in full sits alone.
        """
        seated = self._seated()
        if not seated:
            return True
        fits = self._key_of(config) == self._key and step_kind(config) == self._together
        return fits and len(seated) < self._seats(config)

    def sit(self, config: TrialConfig) -> TrialAdapters:
        """Attaches new adapters in a free seat; `detach` frees it. Call it if `has_seat`.

        Raises:
            UserError: `lora.target_modules` or `encoder` names what cannot be trained.
        """
        assert self.has_seat(config), "the seats are taken, or by trials of another kind"
        stepper, seated = self.stepper(config), self._seated()
        taken = {adapters.seat for adapters in seated}
        free = next(seat for seat in range(stepper.store.seats) if seat not in taken)
        adapters = TrialAdapters(
            self.model, config.lora, config.train.full_modules, seed=config.train.seed, store=stepper.store,
            encoder=config.encoder, seat=free, beside=seated[0] if seated else None,
        )  # fmt: skip
        self._sitting, self._together = [*seated, adapters], step_kind(config)
        return adapters

    def feed(self, *, with_answer: bool) -> Feed:
        """Makes batches for this model. with_answer: whether the tokens of the answer are scored, too."""
        return Feed(self.collator, self.device, self._copies, with_answer=with_answer)

    def forget(self) -> None:
        """Releases storage and graphs, because the next trial needs others or memory ran out."""
        self._stepper, self._key = None, None
        self._sitting = self._seated()  # those that have left would keep the storage
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _seated(self) -> list[TrialAdapters]:
        return [adapters for adapters in self._sitting if adapters.is_attached]

    def _key_of(self, config: TrialConfig) -> Hashable:
        """What storage and graphs are made for."""
        encoder = config.encoder
        inside = (encoder.sam2, encoder.vision, self._encoder_rank(config))
        ranks = (self._rank(config), self._drops(config), self._seats(config))
        return config.lora.target_modules, config.train.full_modules, ranks, inside

    def _rank(self, config: TrialConfig) -> int:
        return max(config.lora.r, self._max_rank or 0)

    def _encoder_rank(self, config: TrialConfig) -> int:
        return max(config.encoder.r, self._max_encoder_rank or 0) if config.encoder.any_targets else 0

    def _drops(self, config: TrialConfig) -> bool:
        return self._any_dropout or config.lora.dropout > 0

    def _seats(self, config: TrialConfig) -> int:
        """Seats of the storage."""
        return 1 if sits_alone(config) else self.seats
