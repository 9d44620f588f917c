"""Counts the bytes of tensors that are alive while code runs: what the CUDA allocator would report as allocated.

With fake tensors (`torch._subclasses.FakeTensorMode`) the code runs without computing and without memory, so a training
step of 8 billion parameters is counted on any machine in two seconds, from the step's own code and not from a formula
that would have to follow each change of it.
"""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from tune_sa2va.train.caching_allocator import BLOCK_BYTES, Block, CachingAllocator


class LiveBytes(TorchDispatchMode):
    """While it is entered: `live`, the bytes of all storages made inside that still exist, and `peak`, their maximum.

    Storages of `known` tensors, made before, are not counted. `allocator` is asked for both, in the same order.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.allocator = CachingAllocator()
        self._blocks: dict[int, Block] = {}
        self._unseen: set[int] = set()
        self._is_fused = False
        for tensor in known:
            key = tensor.untyped_storage()._cdata
            if key not in self._unseen:
                self._unseen.add(key)
                self.allocator.allocate(storage_bytes(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at the storages of what it gives back."""
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    @contextmanager
    def fused(self) -> Iterator[None]:
        """What is made inside never exists: a compiled kernel computes it on the way to something else."""
        before, self._is_fused = self._is_fused, True
        try:
            yield
        finally:
            self._is_fused = before

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._blocks or key in self._unseen:
            return
        if self._is_fused:
            self._unseen.add(key)
            weakref.finalize(storage, self._unseen.discard, key)
            return
        size = storage_bytes(tensor)
        self._blocks[key] = self.allocator.allocate(size)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.live -= size
        self.allocator.release(self._blocks.pop(key))


def storage_bytes(tensor: Tensor) -> int:
    """Bytes that the CUDA allocator gives the storage under `tensor`."""
    return -(-tensor.untyped_storage().nbytes() // BLOCK_BYTES) * BLOCK_BYTES


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages under `tensors`; a storage that several share counts once."""
    storages = {tensor.untyped_storage()._cdata: storage_bytes(tensor) for tensor in tensors}
    return sum(storages.values())
