"""Makes a study, from its first search to its figures; a second call continues it."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tune_sa2va.bench.study.cells import Cell, StudyPlan, cells_of, run_cells
from tune_sa2va.bench.study.figures import study_figures
from tune_sa2va.bench.study.outcome import read_outcome, unet_scores
from tune_sa2va.bench.study.rows import BY_HAND
from tune_sa2va.bench.study.table import markdown, rows_of, to_frame
from tune_sa2va.durable import write_whole
from tune_sa2va.words import count


def study(
    plan: StudyPlan,
    folder: Path,
    *,
    place: Sequence[str],
    processes: int,
    minutes: float | None,
    unet_epochs: int,
) -> bool:
    """Runs what is missing of the study in `folder`, and writes tables and figures. Returns whether it is complete.

    place, processes, minutes: see `run_cells`. unet_epochs: 0: no U-Net.

    Raises:
        UserError: `folder` holds another study, a search failed, or MONAI is not installed.
    """
    console = Console(highlight=False)
    plan.save(folder)
    left = run_cells(plan, folder, place=place, processes=processes, minutes=minutes)
    if not left and unet_epochs:
        _train_unets(plan, folder, unet_epochs)
    outcome = read_outcome(plan, folder)
    rows = rows_of(outcome)
    write_whole(folder / "table.md", markdown(rows).encode())
    to_frame(rows).to_parquet(folder / "table.parquet")
    outcome.scores.to_parquet(folder / "scores.parquet")
    outcome.curves.to_parquet(folder / "curves.parquet")
    console.print(markdown(rows), soft_wrap=True)
    from tune_sa2va.report.static import write_figures

    console.print(write_figures(folder / "figures", study_figures(outcome, rows)))
    if left:
        console.print(f"To be done: {count(len(left), 'search', 'searches')}; call again.")
    return not left


def _train_unets(plan: StudyPlan, folder: Path, epochs: int) -> None:
    """Trains the U-Nets on the parts of the search BY_HAND, whose split has a validation part."""
    from tune_sa2va.bench.study.unet import unet_rows
    from tune_sa2va.data.split_file import read_split
    from tune_sa2va.evaluate.tuned_model import the_device
    from tune_sa2va.results.settings import SearchSettings

    for cell in _by_hand(plan):
        path = unet_scores(folder, cell.seed)
        if not path.is_file():
            results = folder / cell.name
            samples = read_split(results, SearchSettings.load(results).data)
            rows = unet_rows(samples, epochs=epochs, seed=cell.seed, device=the_device())
            write_whole(path, json.dumps(rows).encode())


def _by_hand(plan: StudyPlan) -> list[Cell]:
    return [cell for cell in cells_of(plan) if cell.row.key == BY_HAND]
