"""What a compiled function keeps for its backward pass, without compiling it.

torch.compile does not keep what autograd would: AOTAutograd cuts the joint graph of forward and backward where the
least has to be kept, and computes cheap things again. Here that cut is made (by the same function, with the same
decompositions) and the two graphs run operation by operation, on fake tensors too.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch._functorch.aot_autograd import aot_function, make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table


def partitioned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` of tensors of one set of shapes, keeping for its backward what the compiled one keeps."""
    run = lambda graph, _examples: make_boxed_func(graph)  # noqa: E731 - a name for what both passes do
    compiled: Callable[..., Tensor] = aot_function(
        function,
        fw_compiler=run,
        bw_compiler=run,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )

    def run_or_train(*args: object) -> Tensor:
        return compiled(*args) if torch.is_grad_enabled() else function(*args)

    return run_or_train
