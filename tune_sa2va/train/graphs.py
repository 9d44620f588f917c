"""Runs functions as CUDA graphs: with small batches a GPU waits for Python, and a graph is a single launch.

Graphs are kept by key: function, batch size, shape and variant. The first call with a key runs eagerly, which compiles
and allocates what must exist before a capture. The second call captures and replays; later ones replay. Every call
computes its batch exactly once. On a CPU every call runs eagerly.
"""

import logging
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from tune_sa2va.evaluate.batch import Batch, Shape

log = logging.getLogger(__name__)


class Graphs:
    """The graphs over one set of static tensors. They share one memory pool, since only one runs at a time."""

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if enabled else None
        self._seen: set[Hashable] = set()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Batch | None, Tensor]] = {}

    def run(
        self,
        name: str,
        function: Callable[[Batch, Shape], Tensor],
        batch: Batch,
        shape: Shape,
        *,
        variant: Hashable = (),
    ) -> Tensor:
        """`function(batch, shape)`. variant: whatever else the function's kernels depend on.

        The result is valid until the next call; copy it if it is needed longer.
        """
        key = (name, len(batch.input_ids), shape, variant)
        if not self._should_replay(key):
            return function(batch, shape)
        if key not in self._graphs:
            static = Batch(*(tensor.clone() for tensor in batch))
            self._capture(key, static, lambda: function(static, shape))
        graph, inputs, output = self._graphs[key]
        assert inputs is not None
        inputs.copy_from(batch)
        graph.replay()
        return output

    def run_alone(self, name: str, function: Callable[[], Tensor]) -> Tensor:
        """`function()`, which reads and writes static tensors only."""
        if not self._should_replay(name):
            return function()
        if name not in self._graphs:
            self._capture(name, None, function)
        graph, _, output = self._graphs[name]
        graph.replay()
        return output

    def _should_replay(self, key: Hashable) -> bool:
        is_ready = self._pool is not None and key in self._seen
        self._seen.add(key)
        return is_ready

    def _capture(self, key: Hashable, inputs: Batch | None, function: Callable[[], Tensor]) -> None:
        # The graphs' pool cannot use memory that the allocator has cached from eager calls.
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        # Another thread may be copying the next batch; only this thread's calls belong to the capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = function()
        self._graphs[key] = (graph, inputs, output)
        log.info("captured CUDA graph %d: %s", len(self._graphs), key)

    def __len__(self) -> int:
        return len(self._graphs)
