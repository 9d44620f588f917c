"""Random masks as a function of numbers: the same mask for a trial whatever runs beside it.

A generator gives numbers in the order in which they are asked for, so a trial's would depend on the trials that share
its steps. Here a mask depends on the trial's seed, the number of the forward pass, the place in the model and the
element, and on nothing else. It is plain arithmetic, so it can be compiled and captured, and nothing has to be restored
when a step is computed again.
"""

import hashlib
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_BITS = 2**32 - 1


def keep_mask(
    shape: tuple[int, ...],
    place: int | Int[Tensor, ""],
    seeds: Int[Tensor, "*K 2"],
    draws: Int[Tensor, "*K"],
    probability: Float[Tensor, "*K"],
) -> Bool[Tensor, "KB ..."]:
    """A mask of `shape`, whose first dimension is (K B): True with probability 1 - `probability` of the seat.

    place: number of the place in the model. seeds: from `seeds_of`. draws: number of the forward pass.
    """
    first = _mixed((_mixed(seeds[..., 0] ^ draws) + place) & _BITS)
    second = _mixed(_mixed((seeds[..., 1] + draws) & _BITS) ^ place)
    elements = torch.arange(math.prod(shape) // max(1, draws.numel()), device=draws.device)
    numbers = _mixed((_mixed(elements ^ first[..., None]) + second[..., None]) & _BITS)
    return (numbers >= (probability * 2**32).to(torch.int64)[..., None]).view(shape)


def seeds_of(seed: int) -> tuple[int, int]:
    """Two numbers of 32 bits that look random, so that seeds close to each other have nothing in common."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _mixed(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """A permutation of 32-bit numbers in which each bit of the result depends on all bits (the hash with the least
    known bias in https://github.com/skeeto/hash-prospector; its factors are below 2^31, so int64 does not overflow)."""
    x = x ^ (x >> 16)
    x = (x * 0x21F0AAAD) & _BITS
    x = x ^ (x >> 15)
    x = (x * 0x735A2D97) & _BITS
    return x ^ (x >> 15)
