"""What a compiled function keeps for its backward pass and holds on the way, without compiling it.

torch.compile does not keep what autograd would: AOTAutograd cuts the joint graph of forward and backward where the
least has to be kept, and computes cheap things again. Here that cut is made (by the same function, with the same
decompositions) and the two graphs run operation by operation, on fake tensors too. Inductor then fuses everything but
matrix products, convolutions and attention: a value between two such kernels exists only where one of them reads it.
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

_UNFUSED = ("mm", "addmm", "bmm", "baddbmm", "convolution")


def partitioned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` of tensors of one set of shapes a mode (training or not), holding what the compiled one holds."""
    training, inference = _traced(function), _traced(function)
    return lambda *args: training(*args) if torch.is_grad_enabled() else inference(*args)


def _traced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    run = lambda graph, _examples: make_boxed_func(_FusedRun(graph).run)  # noqa: E731 - a name for what both passes do
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
        if is_first:  # this traces, which makes tensors of its own, and keeps some that no checkpoint may count
            is_first = False
            with _uncounted(), saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
                traced(*args)
        return traced(*args)

    return call


def _uncounted() -> AbstractContextManager[None]:
    counters = [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, LiveBytes)]
    return counters[-1].fused() if counters else nullcontext()


class _FusedRun(fx.Interpreter):
    """Runs a graph; what compiled kernels would not write to memory is hidden from a `LiveBytes` that counts."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._is_written: dict[fx.Node, bool] = {}
        for node in reversed(graph.graph.nodes):
            self._is_written[node] = _is_unfused(node) or any(
                user.op == "output" or _is_unfused(user) or (_is_view(user) and self._is_written[user])
                for user in node.users
            )

    def run_node(self, n: fx.Node) -> Any:
        """As ever, but in the counters' sight only what is written."""
        with nullcontext() if self._is_written[n] else _uncounted():
            return super().run_node(n)


def _is_unfused(node: fx.Node) -> bool:
    name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
    return name in _UNFUSED or name.startswith("_scaled_dot_product")


def _is_view(node: fx.Node) -> bool:
    return node.target is operator.getitem or bool(getattr(node.target, "is_view", False))
