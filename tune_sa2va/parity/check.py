"""All comparisons with one golden folder: inputs, the base model and its gradients, the adapter and its gradients."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tune_sa2va.config import PlainPrecision
from tune_sa2va.model.adapter import load_adapter
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.parity.compare import LIMITS, Difference, Limits, compare
from tune_sa2va.parity.golden import Golden
from tune_sa2va.parity.native import Sample, gradients, joiners_by_key, prepare, run

_DTYPES: dict[PlainPrecision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(slots=True)
class Report:
    """The differences, and the names of golden tensors that have no native counterpart."""

    differences: list[Difference] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)

    def add(self, native: dict[str, Tensor], golden: dict[str, Tensor], limits: Limits, *, prefix: str = "") -> None:
        """Compares tensors that both have, and notes those that only `golden` has."""
        for name, wanted in golden.items():
            limit = limits.gradient if name.startswith("grad_") else limits.activation
            if name in native:
                self.differences.append(compare(prefix + name, native[name], wanted, limit))
            else:
                self.not_compared.append(prefix + name)


def check(golden: Golden, precision: PlainPrecision) -> Report:
    """Runs all comparisons with `golden`, on the CPU."""
    limits, dtype = LIMITS[precision], _DTYPES[precision]
    report = Report()
    sample = prepare(golden)
    report.add(sample.named(), golden.inputs, LIMITS["fp32"])
    model = load_model(golden.folder, device=torch.device("cpu"), dtype=dtype)
    report.add(_base_tensors(model, sample, golden.outputs, dtype), golden.outputs, limits)
    if golden.adapter_outputs is not None:
        tensors = _adapter_tensors(model, sample, golden, dtype)
        report.add(tensors, golden.adapter_outputs, limits, prefix="adapter/")
    return report


def _base_tensors(model: Sa2VA, sample: Sample, golden: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a forward pass, and the gradients, by checkpoint key, of each loss in `golden`."""
    model.requires_grad_(True)
    tensors = run(model, sample, dtype=dtype)
    joiners = joiners_by_key(model)
    leaves = {**dict(model.named_parameters()), "seg_embedding": tensors["seg_embedding"]}
    found: dict[str, Tensor] = {}
    for loss in _losses(golden):
        native = gradients(tensors[f"loss_{loss}"], leaves)
        found[f"grad_{loss}.seg_embedding"] = native["seg_embedding"]
        found |= {f"grad_{loss}.{key}": join(native) for key, join in joiners.items()}
    model.requires_grad_(False)
    return tensors | found


def _adapter_tensors(model: Sa2VA, sample: Sample, golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    """The same with the golden adapter; gradients by the names in its file."""
    adapters = load_adapter(model, golden.folder / "adapter")
    tensors = run(model, sample, dtype=dtype)
    found: dict[str, Tensor] = {}
    for loss in _losses(golden.adapter_outputs or {}):
        native = gradients(tensors[f"loss_{loss}"], adapters.store.leaves)
        found |= {f"grad_{loss}.{name}": gradient for name, gradient in native.items()}
    adapters.detach()
    return tensors | found


def _losses(golden: dict[str, Tensor]) -> list[str]:
    """The losses that have golden gradients: `bce` if there is a `grad_bce.KEY`."""
    losses = {name.split(".")[0].removeprefix("grad_") for name in golden if name.startswith("grad_")}
    return sorted(losses & {"mean_logit", "bce", "ce"})
