"""Random masks and noise as a function of numbers: the same for a trial whatever runs beside it.

A generator gives numbers in the order in which they are asked for, so a trial's would depend on the trials that share
its steps. Here they depend on the trial's seed, the number of the forward pass, the place in the model and the element,
and on nothing else. It is plain arithmetic, so it can be compiled and captured, and nothing has to be restored
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
    numbers = _numbers(shape, place, seeds, draws)
    return (numbers >= (probability * 2**32).to(torch.int64)[..., None]).view(shape)


def noise(
    shape: tuple[int, ...], place: int, seeds: Int[Tensor, "*K 2"], draws: Int[Tensor, "*K"]
) -> Float[Tensor, "KB ..."]:
    """Standard normal numbers of `shape`, whose first dimension is (K B), by the transform of Box and Muller.

    place: as in `keep_mask`; it takes two.
    """
    radius, angle = (_numbers(shape, place + which, seeds, draws).float() for which in (0, 1))
    radius = (-2 * ((radius + 1) / (2**32 + 1)).log()).clamp(min=0).sqrt()
    return (radius * (angle * (2 * math.pi / 2**32)).cos()).view(shape)


def _numbers(
    shape: tuple[int, ...], place: int | Int[Tensor, ""], seeds: Int[Tensor, "*K 2"], draws: Int[Tensor, "*K"]
) -> Int[Tensor, "*K N"]:
    """Numbers of 32 bits, for each seat as many as its share of `shape` has elements."""
    first = _mixed((_mixed(seeds[..., 0] ^ draws) + place) & _BITS)
    second = _mixed(_mixed((seeds[..., 1] + draws) & _BITS) ^ place)
    elements = torch.arange(math.prod(shape) // max(1, draws.numel()), device=draws.device)
    return _mixed((_mixed(elements ^ first[..., None]) + second[..., None]) & _BITS)


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
