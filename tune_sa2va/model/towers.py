"""The image encoders as a step runs them, with the current trial's adapters.

If a trial does not adapt an encoder, that encoder's features come from the cache and it is not called here.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tune_sa2va.model.hiera import Hiera
from tune_sa2va.model.preprocess import MEAN, STD, normalised
from tune_sa2va.model.sa2va import Sa2VA, pixel_shuffle


class Towers:
    """The encoders of one base. compiled: whether SAM2's blocks run through torch.compile."""

    def __init__(self, model: Sa2VA, *, compiled: bool) -> None:
        self._model = model
        self._hiera = Hiera(model, compiled=compiled)
        # Moved to the device once: a captured step cannot copy from the host.
        self._scales = tuple(numbers.to(model.no_mem_embed.device) for numbers in (MEAN, STD))

    def sam2(
        self, pictures: Float[Tensor, "B 3 G G"], scale: Tensor, *, checkpointed: bool = False
    ) -> tuple[Float[Tensor, "B d h w"], Float[Tensor, "B d 2h 2w"], Float[Tensor, "B d 4h 4w"]]:
        """What `Sa2VA.encode_sam` returns for pictures in [0, 1]. scale: of the encoders' adapters.

        checkpointed: keep only each block's input for the backward pass, and compute the rest again there.
        """
        inputs = normalised(pictures, *self._scales).to(self._model.no_mem_embed.dtype)
        return self._hiera.encode(inputs, scale, checkpointed=checkpointed)

    def vision(self, tiles: Float[Tensor, "B N 3 P P"], *, checkpointed: bool = False) -> Float[Tensor, "B I D"]:
        """Image tokens of each image's tiles in [0, 1] (InternVL).

        checkpointed: keep only each layer's input for the backward pass, and compute the rest again there.
        """
        tower: Any = self._model.vision_model
        x = tower.embeddings(normalised(tiles.flatten(0, 1), *self._scales).to(self._model.no_mem_embed.dtype))
        for layer in tower.encoder.layer:
            if checkpointed and torch.is_grad_enabled():
                x = checkpoint(layer.forward, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x)
        tokens: Tensor = self._model.mlp1(pixel_shuffle(tower.layernorm(x)[:, 1:]))
        return tokens.unflatten(0, tiles.shape[:2]).flatten(1, 2)
