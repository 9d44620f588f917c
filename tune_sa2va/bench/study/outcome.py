"""Reads the results of a study's searches: scores of every locked image, and the best score over time.

Images and groups are called by codes, which are the same for every search on a data set.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tune_sa2va.bench.study.cells import Cell, StudyPlan, cells_of, ensemble_scores, is_done, unet_scores
from tune_sa2va.bench.study.rows import BY_HAND, ENSEMBLE, FOLDED, UNET
from tune_sa2va.results.load import Results, load_results
from tune_sa2va.results.records import lane_seconds
from tune_sa2va.results.test_scores import RECIPE, UNTUNED, WINNER

MEASURES = ("dice", "cl_dice", "hd95_px", "betti_error")
_KEYS = ["image_code", "text"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """scores: a row per seed, key (of `rows.NAMES`) and locked image, with MEASURES at threshold 0.5 and `recipe_dice`,
        the Dice of the recipe with which it is compared.
    curves: a row per search and epoch, in order of their ends: `hours` of lanes so far, `gain` of the best trial so far
        over the recipe's last epoch, in Val Dice, and `epochs` of all adapters so far.
    trials: a row per trial of all searches: the columns of `trials.parquet`, and `seed` and `key`.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    trials: pd.DataFrame


def read_outcome(plan: StudyPlan, folder: Path) -> Outcome:
    """The outcome of the finished searches.

    The rows of a search are compared with its own recipe; the untuned base and the U-Net with the recipe of BY_HAND.
    """
    scores, curves, trials = [], [], []
    for cell in cells_of(plan):
        if not is_done(folder, cell):
            continue
        results = load_results(folder / cell.name)
        rows = _rows_of(results, folder, cell)
        scores += [found.assign(seed=cell.seed, key=key) for key, found in rows.items()]
        curves.append(_curve(results).assign(seed=cell.seed, key=cell.row.key))
        trials.append(results.trials.assign(seed=cell.seed, key=cell.row.key))
    empty = pd.DataFrame(columns=["seed", "key", *_KEYS, "group_code", *MEASURES, "recipe_dice"])
    return Outcome(
        scores=pd.concat(scores, ignore_index=True)[empty.columns] if scores else empty,
        curves=pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(),
        trials=pd.concat(trials, ignore_index=True) if trials else pd.DataFrame(),
    )


def _rows_of(results: Results, folder: Path, cell: Cell) -> dict[str, pd.DataFrame]:
    """Key -> a row per locked image."""
    found = {str(row): own.set_index(_KEYS) for row, own in results.test_scores.groupby("row")}
    recipe = found.get(RECIPE, found[WINNER])  # the recipe has no row of its own if it won
    rows = {cell.row.key: found[WINNER]}
    if cell.row.key == BY_HAND:
        rows |= {"recipe": recipe, "untuned": found[UNTUNED]}
        if (path := unet_scores(folder, cell.seed)).is_file():
            rows[UNET] = pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))).set_index(_KEYS)
    if cell.row.key == FOLDED and (path := ensemble_scores(folder, cell.seed)).is_file():
        rows[ENSEMBLE] = _of_evaluation(path).join(recipe["group_code"])
    return {
        key: own[["group_code", *MEASURES]].join(recipe["dice"].rename("recipe_dice")).reset_index()
        for key, own in rows.items()
    }


def _of_evaluation(path: Path) -> pd.DataFrame:
    """The scores that `evaluate --json` printed, at its first threshold, which is 0.5."""
    images = json.loads(path.read_text(encoding="utf-8"))["images"]
    rows = [
        {"image_code": image["image"], "text": image["text"]} | {name: image["scores"][0][name] for name in MEASURES}
        for image in images
    ]
    return pd.DataFrame(rows).set_index(_KEYS).astype(float)


def _curve(results: Results) -> pd.DataFrame:
    epochs = results.epochs.sort_values("ended_at", kind="stable")
    recipe = results.epochs[results.epochs["trial_id"] == "0000"].sort_values("epoch")["val_dice"].iloc[-1]
    per_lane = results.settings.gpus_per_trial if results.settings.gpus else 1
    return pd.DataFrame(
        {
            "hours": (lane_seconds(epochs).cumsum() * per_lane / 3600).to_numpy(),
            "gain": (epochs["val_dice"].cummax() - recipe).to_numpy(),
            "epochs": epochs["folds"].cumsum().to_numpy(),
        }
    )
