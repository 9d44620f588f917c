"""Loads the results of a search in Python, as pandas frames. Imports neither Ray nor torch."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.split_file import SPLIT_FILE
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.tuned import Tuned, read_tuned
from tune_sa2va.results.records import TrialKind, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import RECIPE, UNTUNED, LockedPart, read_locked_part


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Results:
    """The results of one search. What it does not have yet is an empty frame, or None."""

    folder: Path
    settings: SearchSettings
    trials: pd.DataFrame
    """One row per trial: its configuration (`lora.r`), state, epochs, best_val_dice, why it failed."""
    epochs: pd.DataFrame
    """One row per trial and epoch."""
    reruns: pd.DataFrame
    """Like `trials`, for the reruns of `confirm`; `parent` is the trial that was run again."""
    test_scores: pd.DataFrame
    """One row per model (untuned base, recipe, winner) and test image: tp, fp, fn, tn, dice, cl_dice, hd95_px, ..."""
    comparisons: pd.DataFrame
    """One row per measure and model that the winner is compared with: mean difference over the test images, its 95%
    interval over groups, p of the signed-rank test, number of groups, and the verdict as `word` (better, worse, tie,
    too few patients to say)."""
    verdict: str
    """How the winner compares with the recipe and the untuned base by Dice, in words; empty before the test part is
    scored."""
    test_openings: int
    """How often the test part was scored: once, unless the winner changed."""
    split: pd.DataFrame
    """One row per image: its code, its group's code and its part. Only the folder's names.parquet has names."""
    winner: Tuned | None
    """The record of what was exported to best_adapter: trial, epoch, config, threshold and scores."""


def load_results(folder: str | Path) -> Results:
    """The results in a folder. The search may still be running.

    Raises:
        UserError: it is not a results folder, or a file is damaged or of another version.
    """
    folder = Path(folder)
    locked = read_locked_part(folder)
    return Results(
        folder=folder.resolve(),
        settings=SearchSettings.load(folder),
        trials=read_trials(folder),
        epochs=read_epochs(folder),
        reruns=read_trials(folder, TrialKind.CONFIRMATION),
        test_scores=pd.DataFrame() if locked is None else locked.scores,
        comparisons=pd.DataFrame() if locked is None else _comparisons(locked),
        verdict="" if locked is None else locked.verdict,
        test_openings=0 if locked is None else locked.openings,
        split=read_split_table(folder),
        winner=read_tuned(folder / "best_adapter"),
    )


def _comparisons(locked: LockedPart) -> pd.DataFrame:
    rows = [
        {
            "other": other,
            "measure": column,
            "difference": found.difference.mean,
            "low": found.difference.low,
            "high": found.difference.high,
            "p_value": found.p_value,
            "groups": found.difference.num_groups,
            "word": str(found.word),
        }
        for other in (RECIPE, UNTUNED)
        for column, found in locked.against(other).items()
    ]
    return pd.DataFrame(rows)


def read_split_table(folder: Path) -> pd.DataFrame:
    """Which image is in which part and fold, by code; an empty frame if the folder has no split.

    Raises:
        ResultsError: the file is damaged.
    """
    return _table(folder / SPLIT_FILE)


def _table(path: Path) -> pd.DataFrame:
    """A file's content; an empty frame if there is no file."""
    try:
        return pq.read_table(path).to_pandas()
    except FileNotFoundError:
        return pd.DataFrame()
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{path}: cannot be read ({str(error).splitlines()[0]}). Put back a copy of it.") from error
