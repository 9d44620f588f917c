"""Makes a study, from its first search to its figures; a second call continues it."""

import time
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from tune_sa2va.bench.record.command import record
from tune_sa2va.bench.study.ablation import AblationRow, ablation_markdown, ablation_plan, ablation_rows
from tune_sa2va.bench.study.cells import Execution, StudyPlan, run_cells
from tune_sa2va.bench.study.figures import study_figures
from tune_sa2va.bench.study.importance import study_importances
from tune_sa2va.bench.study.outcome import read_outcome
from tune_sa2va.bench.study.pictures import write_pictures
from tune_sa2va.bench.study.rows import LARGEST
from tune_sa2va.bench.study.table import markdown, rows_of, to_frame
from tune_sa2va.durable import write_whole
from tune_sa2va.durable_table import write_table
from tune_sa2va.words import count

ABLATION = "ablation"
"""The folder of the ablation in that of the study."""


def study(plan: StudyPlan, folder: Path, execution: Execution, *, unet_epochs: int, ablation_seeds: int) -> bool:
    """Runs what is missing of the study in `folder`, and writes tables and figures. Returns whether it is complete.

    unet_epochs: 0: no U-Net. ablation_seeds: adapters per configuration and fold of the ablation; 0: none.

    Raises:
        UserError: `folder` holds another study, a search failed, or MONAI is not installed.
    """
    console = Console(highlight=False)
    started = time.monotonic()
    plan.save(folder)
    left = run_cells(plan, folder, execution, unet_epochs=unet_epochs)
    by_hand = ablation_plan(plan, seeds=ablation_seeds)
    is_whole = not left
    if ablation_seeds and not left:
        rest = None if execution.minutes is None else execution.minutes - (time.monotonic() - started) / 60
        is_whole = record(
            by_hand, folder / ABLATION, processes=execution.processes, minutes=rest, compiled=execution.compiled
        )
    present(plan, folder, ablation_rows(by_hand, folder / ABLATION), console)
    if left:
        console.print(f"To be done: {count(len(left), 'search or U-Net', 'searches and U-Nets')}; call again.")
    return is_whole


def present(plan: StudyPlan, folder: Path, ablation: list[AblationRow], console: Console) -> None:
    """Writes tables, figures and pictures of what is done."""
    outcome = read_outcome(plan, folder)
    rows = rows_of(outcome)
    text = markdown(rows) + (f"\n{ablation_markdown(ablation)}" if ablation else "")
    write_whole(folder / "table.md", text.encode())
    frames = {"table": to_frame(rows), "scores": outcome.scores, "curves": outcome.curves, "trials": outcome.trials}
    for name, frame in frames.items():
        write_table(folder / f"{name}.parquet", pa.Table.from_pandas(frame))
    console.print(text, soft_wrap=True)
    from tune_sa2va.report.static import write_figures

    figures = study_figures(outcome, rows, ablation, study_importances(plan, folder))
    console.print(write_figures(folder / "figures", figures))
    console.print(write_pictures(plan, folder, LARGEST))
