"""What a worker keeps between trials so that the next one starts at once: fused layers, storage and CUDA graphs."""

import logging
from collections.abc import Hashable

import torch

from tune_sa2va.config import TrialConfig
from tune_sa2va.evaluate.batch import Collator
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.lora import make_store
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.towers import Towers
from tune_sa2va.train.checkpoint import CheckpointWriter
from tune_sa2va.train.feed import Feed
from tune_sa2va.train.step import Stepper

log = logging.getLogger(__name__)

# Graphs and compiled kernels are made per shape, so on a GPU sizes are rounded up to few shapes. On a CPU they are not,
# since padding would only cost time.
_TOKEN_MULTIPLE, _CANVAS_MULTIPLE = 16, 256
_GPU_VALIDATION_BATCH = 8


class Engine:
    """One base model, ready for one trial at a time."""

    def __init__(
        self,
        model: Sa2VA,
        *,
        max_rank: int | None = None,
        any_dropout: bool = False,
        world_size: int = 1,
        eager: bool = False,
        max_encoder_rank: int | None = None,
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
        self.validation_batch = _GPU_VALIDATION_BATCH if on_gpu else 1
        self._key: Hashable = None
        self._stepper: Stepper | None = None

    def stepper(self, config: TrialConfig) -> Stepper:
        """Storage and graphs for a trial of `config`: those of the previous trial, if modules and ranks allow it.

        Raises:
            UserError: `lora.target_modules` or `encoder` names what cannot be trained.
        """
        rank = max(config.lora.r, self._max_rank or 0)
        drops = self._any_dropout or config.lora.dropout > 0
        encoder = config.encoder
        encoder_rank = max(encoder.r, self._max_encoder_rank or 0) if encoder.any_targets else 0
        inside = (encoder.sam2, encoder.vision, encoder_rank)
        key = (config.lora.target_modules, config.train.full_modules, rank, drops, inside)
        if self._stepper is None or key != self._key:
            self.forget()
            store = make_store(
                self.model, config.lora, config.train.full_modules, rank=rank, drops=drops,
                encoder=encoder, encoder_rank=encoder_rank,
            )  # fmt: skip
            self._stepper = Stepper(self.model, self.layers, store, world_size=self._world_size, towers=self.towers)
            self._key = key
        self._stepper.checkpointed = self.checkpointed
        return self._stepper

    def feed(self, *, with_answer: bool) -> Feed:
        """Makes batches for this model. with_answer: whether the tokens of the answer are scored, too."""
        return Feed(self.collator, self.device, self._copies, with_answer=with_answer)

    def forget(self) -> None:
        """Releases storage and graphs, because the next trial needs others or memory ran out."""
        self._stepper, self._key = None, None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
