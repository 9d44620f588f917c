"""Makes a study, from its first search to its figures; a second call continues it."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tune_sa2va.bench.record.command import record
from tune_sa2va.bench.study.ablation import ablation_markdown, ablation_plan, ablation_rows
from tune_sa2va.bench.study.cells import StudyPlan, run_cells
from tune_sa2va.bench.study.figures import study_figures
from tune_sa2va.bench.study.outcome import read_outcome
from tune_sa2va.bench.study.table import markdown, rows_of, to_frame
from tune_sa2va.durable import write_whole
from tune_sa2va.words import count

ABLATION = "ablation"
"""The folder of the ablation in that of the study."""


def study(
    plan: StudyPlan,
    folder: Path,
    *,
    place: Sequence[str],
    processes: int,
    minutes: float | None,
    unet_epochs: int,
    ablation_seeds: int,
    compiled: bool,
) -> bool:
    """Runs what is missing of the study in `folder`, and writes tables and figures. Returns whether it is complete.

    place, processes, compiled, unet_epochs: see `run_cells`. minutes: stop after this time; None: no limit.
    ablation_seeds: adapters per configuration and fold of the ablation; 0: none.

    Raises:
        UserError: `folder` holds another study, a search failed, or MONAI is not installed.
    """
    console = Console(highlight=False)
    started = time.monotonic()
    plan.save(folder)
    left = run_cells(
        plan, folder, place=place, processes=processes, minutes=minutes, unet_epochs=unet_epochs, compiled=compiled
    )
    by_hand = ablation_plan(plan, seeds=ablation_seeds)
    is_whole = not left
    if ablation_seeds and not left:
        rest = None if minutes is None else minutes - (time.monotonic() - started) / 60
        is_whole = record(by_hand, folder / ABLATION, processes=processes, minutes=rest, compiled=compiled)
    outcome = read_outcome(plan, folder)
    rows, ablation = rows_of(outcome), ablation_rows(by_hand, folder / ABLATION)
    text = markdown(rows) + (f"\n{ablation_markdown(ablation)}" if ablation else "")
    write_whole(folder / "table.md", text.encode())
    to_frame(rows).to_parquet(folder / "table.parquet")
    outcome.scores.to_parquet(folder / "scores.parquet")
    outcome.curves.to_parquet(folder / "curves.parquet")
    console.print(text, soft_wrap=True)
    from tune_sa2va.report.static import write_figures

    console.print(write_figures(folder / "figures", study_figures(outcome, rows, ablation)))
    if left:
        console.print(f"To be done: {count(len(left), 'search or U-Net', 'searches and U-Nets')}; call again.")
    return is_whole
