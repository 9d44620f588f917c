"""Runs a function with the memory use of its compiled version, without compiling it.

torch.compile does not keep for the backward pass what autograd would: AOTAutograd cuts the joint graph of forward and
backward pass where the least memory has to be kept, and computes cheap operations again. This file makes the same cut
(with PyTorch's own partitioner and decompositions) and runs the two graphs operation by operation, which also works on
fake tensors. Inductor fuses everything except matrix products, convolutions and attention. So an intermediate value
counts as memory only if one of these kernels reads or writes it.
"""

import operator
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch._inductor.lowering  # a decomposition (of max_pool2d) asks for it without importing it
from torch import Tensor, fx
from torch._functorch.aot_autograd import aot_function, make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from tune_sa2va.train.live_bytes import LiveBytes

_UNFUSED = ("mm", "addmm", "bmm", "baddbmm", "convolution", "fp8_product", "fp8_transposed")


def partitioned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, holding as much memory as its compiled version. In each mode (with gradients or without) it must
    always be called with the same shapes."""
    training, inference = _traced(function), _traced(function)
    return lambda *args: training(*args) if torch.is_grad_enabled() else inference(*args)


def _traced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    run = lambda graph, _examples: make_boxed_func(_FusedRun(graph).run)  # noqa: E731 - both passes need it
    traced: Callable[..., Tensor] = aot_function(
        function,
        fw_compiler=run,
        bw_compiler=run,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    is_first = True

    def call(*args: object) -> Tensor:
        nonlocal is_first
        if is_first:  # tracing makes tensors of its own; neither a counter nor a checkpoint's hooks may see them
            is_first = False
            with _uncounted(), saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
                traced(*args)
        return traced(*args)

    return call


def _uncounted() -> AbstractContextManager[None]:
    counters = [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, LiveBytes)]
    return counters[-1].fused() if counters else nullcontext()


class _FusedRun(fx.Interpreter):
    """Runs a graph, and hides values that compiled kernels would not write to memory from an active `LiveBytes`."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._is_written: dict[fx.Node, bool] = {}
        for node in reversed(graph.graph.nodes):
            self._is_written[node] = _is_unfused(node) or any(
                user.op == "output" or _is_unfused(user) or (_is_view(user) and self._is_written[user])
                for user in node.users
            )

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node; an active `LiveBytes` counts its result only if a compiled kernel would write it."""
        with nullcontext() if self._is_written[n] else _uncounted():
            return super().run_node(n)


def _is_unfused(node: fx.Node) -> bool:
    name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
    return name in _UNFUSED or name.startswith("_scaled_dot_product")


def _is_view(node: fx.Node) -> bool:
    return node.target is operator.getitem or bool(getattr(node.target, "is_view", False))
