"""Counts the bytes of live tensors while code runs: what the CUDA allocator would report as allocated.

With fake tensors (`torch._subclasses.FakeTensorMode`) the code runs without computing anything or allocating memory. So
a training step of 8 billion parameters can be measured on any machine in two seconds, from the step's own code; a
formula would have to follow every change of that code.
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
    """While active, counts storages. live: bytes of all storages made inside that still exist. peak: maximum of `live`.

    Storages of `known` tensors, made before, are not counted. `allocator` receives the requests for both, in order.
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
        """Runs the operation and registers the storages of its results."""
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    @contextmanager
    def fused(self) -> Iterator[None]:
        """Does not count tensors made inside: a fused kernel computes them without writing them to memory."""
        before, self._is_fused = self._is_fused, True
        try:
            yield
        finally:
            self._is_fused = before

    def _see(self, tensor: Tensor) -> None:
        if tensor.is_meta:  # weights that were replaced by others in 8 bits keep their shape
            return
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
    """Bytes that the CUDA allocator uses for the storage of `tensor`, rounded up to whole blocks."""
    return -(-tensor.untyped_storage().nbytes() // BLOCK_BYTES) * BLOCK_BYTES


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of `tensors`; a storage that several tensors share counts once."""
    storages = {tensor.untyped_storage()._cdata: storage_bytes(tensor) for tensor in tensors}
    return sum(storages.values())
