"""The exact mean of several adapters of one configuration, as a single PEFT adapter.

The mean of K products B_k A_k is one product of K times the rank: all A stacked as rows, all B side by side as columns.
PEFT's scale is alpha / r, so the larger rank already divides by K. Only with rsLoRA, whose scale is alpha / sqrt(r),
alpha must be divided by sqrt(K), too. Modules trained in full become the mean of their weights.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tune_sa2va.errors import CheckpointError

_TENSORS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def average_adapters(folders: Sequence[Path], to: Path) -> None:
    """Writes the mean of the adapters in `folders`, which must have the same configuration, to the folder `to`.

    Raises:
        CheckpointError: a file cannot be read, or the configurations differ.
    """
    configs, members = zip(*(_read(folder) for folder in folders), strict=True)
    if any(
        config != configs[0] or member.keys() != members[0].keys()
        for config, member in zip(configs, members, strict=True)
    ):
        raise CheckpointError(
            f"{folders[0]} and the others: have different configurations. Average adapters of the same configuration."
        )
    own, less = configs[0], math.sqrt(len(folders)) if configs[0]["use_rslora"] else 1
    config = own | {
        "r": own["r"] * len(folders),
        "lora_alpha": own["lora_alpha"] / less,
        "rank_pattern": {name: r * len(folders) for name, r in (own.get("rank_pattern") or {}).items()},
        "alpha_pattern": {name: alpha / less for name, alpha in (own.get("alpha_pattern") or {}).items()},
    }
    to.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: _joined(name, [member[name] for member in members]) for name in members[0]},
        to / _TENSORS,
        metadata={"format": "pt"},
    )
    (to / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_average(folder: Path, members: Sequence[Path]) -> None:
    """Checks that the adapter in `folder` changes each matrix by the mean of the changes of the adapters in `members`.

    Raises:
        CheckpointError: it does not, by more than fp32 rounding.
    """
    mean = _changes(*_read(folder))
    total: dict[str, Tensor] = {}
    for member in members:
        for name, change in _changes(*_read(member)).items():
            total[name] = total[name] + change if name in total else change
    for name, change in total.items():
        wanted = change / len(members)
        if not torch.allclose(mean[name], wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max())):
            raise CheckpointError(f"{folder}: {name} is not the mean of the folds' adapters. Export the trial again.")


def _changes(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """scale B A of each module, and the tensors that were trained in full, by name."""
    changes = {}
    for name, tensor in tensors.items():
        if name.endswith(".lora_B.weight"):
            changes[name] = (
                _scale(config, name.removesuffix(".lora_B.weight"))
                * tensor
                @ tensors[name.replace(".lora_B.", ".lora_A.")]
            )
        elif not name.endswith(".lora_A.weight"):
            changes[name] = tensor
    return changes


def _scale(config: dict[str, Any], module: str) -> float:
    """The scale of B A of a module. As in PEFT, a pattern that matches the end of its name overrides the default."""

    def own(pattern: str, default: float) -> float:
        found = (
            value for key, value in (config.get(pattern) or {}).items() if re.fullmatch(rf"(.*\.)?({key})", module)
        )
        return float(next(found, default))

    r, alpha = own("rank_pattern", config["r"]), own("alpha_pattern", config["lora_alpha"])
    return alpha / (math.sqrt(r) if config["use_rslora"] else r)


def _joined(name: str, tensors: Sequence[Tensor]) -> Tensor:
    if name.endswith(".lora_A.weight"):
        return torch.cat(list(tensors), dim=0)
    if name.endswith(".lora_B.weight"):
        return torch.cat(list(tensors), dim=1)
    return torch.stack(list(tensors)).mean(dim=0)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        return json.loads((folder / _CONFIG).read_text(encoding="utf-8")), load_file(folder / _TENSORS)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be read as an adapter ({error}). Copy it again.") from error
