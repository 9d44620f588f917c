"""What mattered in the searches without early stop: PED-ANOVA over the trials of all their seeds."""

from pathlib import Path

import pandas as pd

from tune_sa2va.bench.study.cells import StudyPlan, cells_of, is_done
from tune_sa2va.bench.study.rows import UNSTOPPED
from tune_sa2va.report.importance import Importance, at_equal_epochs, importances
from tune_sa2va.report.load import load_run


def study_importances(plan: StudyPlan, folder: Path) -> list[Importance]:
    """The importance of each field that every trial has, largest first; empty if none of these searches is done.

    Where ASHA stops trials, most can be compared after their first epoch alone, which says little. Seeds have other
    splits, so a trial's score is its Val Dice less the mean over the trials of its search.
    """
    pooled, space = [], {}
    for cell in cells_of(plan):
        if cell.row.key not in UNSTOPPED or not is_done(folder, cell):
            continue
        run = load_run(folder / cell.name, show_names=False)
        searched = run.settings.search_space
        space = {path: d for path, d in searched.distributions.items() if path not in searched.conditional}
        trials, _ = at_equal_epochs(run.scored, run.epochs)
        pooled.append(trials.assign(best_val_dice=trials["best_val_dice"] - trials["best_val_dice"].mean()))
    return importances(pd.concat(pooled, ignore_index=True), space) if pooled else []
