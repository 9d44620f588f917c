"""Shows the results of `inspect` as tables within 80 columns, or as plain values for JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_sa2va.inspect.counts import Counts, ModuleGroup

if TYPE_CHECKING:  # its module imports all of training, and parameters are shown without it
    from tune_sa2va.train.memory import MemoryEstimate

_SAM2 = "grounding_encoder.sam2_model."


def to_plain(model: str, counts: Counts, memory: "Sequence[MemoryEstimate]") -> dict[str, Any]:
    """All results as plain values; sizes in GiB. memory: empty if it was not asked for."""
    return {
        "model": model,
        "parameters": {"total": counts.total, "parts": {part.name: part.total for part in counts.parts}},
        "adapters": {
            "trainable": counts.adapter,
            "reached_by_a_gradient": counts.adapter_reached,
            "parts": {
                part.name: {
                    "modules": part.adapter_modules,
                    "trainable": part.adapter,
                    "reached_by_a_gradient": part.adapter_reached,
                }
                for part in counts.parts
                if part.adapter_modules
            },
            "modules": [asdict(group) for group in counts.modules],
        },
        "trained_in_full": {
            "total": counts.in_full,
            "parts": {part.name: part.in_full for part in counts.parts if part.in_full},
        },
        "memory": [memory_to_plain(estimate) for estimate in memory],
    }


def memory_to_plain(estimate: "MemoryEstimate") -> dict[str, Any]:
    """An estimate with its sums in GiB, rounded to three decimals (MiB)."""
    sums = {name: getattr(estimate, name) for name in ("context_gib", "loading_gib", "step_gib", "card_gib")}
    values = asdict(estimate) | sums
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def print_counts(console: Console, counts: Counts) -> None:
    """Prints parameters by part, and the modules with adapters."""
    table = Table(box=box.SIMPLE_HEAD, title="Parameters", title_justify="left")
    table.add_column("part")
    headers = ["all", "adapters", "of them reached"] + (["in full"] if counts.in_full else [])
    for header in headers:
        table.add_column(header, justify="right")
    for part in counts.parts:
        cells = [part.total, part.adapter, part.adapter_reached, part.in_full]
        table.add_row(part.name, *(_number(cell) for cell in cells[: len(headers)]))
    table.add_section()
    sums = [counts.total, counts.adapter, counts.adapter_reached, counts.in_full]
    table.add_row("total", *(_number(cell) for cell in sums[: len(headers)]), style="bold")
    console.print(table)
    console.print(f"{sum(group.count for group in counts.modules)} modules get an adapter:")
    for parent, groups in _by_parent(counts.modules).items():
        note = "" if groups[0].reached else "  (no gradient reaches it)"
        console.print(Text(f"  {parent.replace(_SAM2, 'SAM2: ')}{note}"))
        for group in groups:
            leaf = group.name.rpartition(".")[2]
            console.print(Text(f"    {group.count:>3} x {leaf}  {group.in_features} -> {group.out_features}"))


def print_memory(console: Console, memory: "Sequence[MemoryEstimate]", precision: str) -> None:
    """Prints expected memory, one row per image size."""
    table = Table(
        box=None, padding=(0, 1, 0, 0), title=f"\nExpected memory in {precision}, GiB\n", title_justify="left"
    )
    headers = ("image", "its tokens", "all tokens", "base", "adapters", "activations", "step", "loading", "card")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for e in memory:
        sizes = (e.base_gib, e.adapters_gib, e.activations_gib, e.step_gib, e.loading_gib, e.card_gib)
        table.add_row(
            f"{e.width_px}x{e.height_px}", str(e.image_tokens), str(e.tokens), *(f"{size:.2f}" for size in sizes)
        )
    console.print(table)
    console.print(
        "\nbase: the weights that a step needs. adapters: trained values, their copies,\n"
        "gradients and AdamW's moments. step: peak of a training step.\n"
        "loading: with the encoders, which are released before the first step.\n"
        "card: the larger of step and loading, plus the CUDA context."
    )


def _by_parent(groups: Sequence[ModuleGroup]) -> dict[str, list[ModuleGroup]]:
    parents: dict[str, list[ModuleGroup]] = {}
    for group in groups:
        parents.setdefault(group.name.rpartition(".")[0], []).append(group)
    return parents


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
