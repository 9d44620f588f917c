"""Counts the bytes of tensors that are alive while code runs: what the CUDA allocator would report as allocated.

With fake tensors (`torch._subclasses.FakeTensorMode`) the code runs without computing and without memory, so a training
step of 8 billion parameters is counted on any machine in two seconds, from the step's own code and not from a formula
that would have to follow each change of it.
"""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_BLOCK_BYTES = 512
"""The CUDA caching allocator rounds every request up to a multiple of this."""


class LiveBytes(TorchDispatchMode):
    """While it is entered: `live`, the bytes of all storages made inside that still exist, and `peak`, their maximum.

    Storages of `known` tensors, made before, are not counted.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at the storages of what it gives back."""
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes or key in self._known:
            return
        size = storage_bytes(tensor)
        self._sizes[key] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def storage_bytes(tensor: Tensor) -> int:
    """Bytes that the CUDA allocator gives the storage under `tensor`."""
    return -(-tensor.untyped_storage().nbytes() // _BLOCK_BYTES) * _BLOCK_BYTES


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages under `tensors`; a storage that several share counts once."""
    storages = {tensor.untyped_storage()._cdata: storage_bytes(tensor) for tensor in tensors}
    return sum(storages.values())
