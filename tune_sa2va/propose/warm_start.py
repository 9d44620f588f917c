"""A warm start: Optuna is told the finished trials of an earlier search, as points with their scores.

They are read once, when the search starts, and saved as `inherited.json` in its own results folder, so the earlier
folder may be deleted. They are not trials of the new search: they are not in its records and cannot win.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tune_sa2va.config import Frozen
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import ResultsError, UserError
from tune_sa2va.propose.inherited_split import Overlap, openings, overlap
from tune_sa2va.results.environment import read_environment
from tune_sa2va.results.records import TrialState, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.search_space import SearchSpace, encode
from tune_sa2va.words import count

FILE_NAME = "inherited.json"


class InheritedTrial(Frozen):
    """A trial of the earlier search. val_dice: the score that counted, in [0, 1].

    stopped_after: the last epoch of a trial that was stopped early; None if it ran to the end.
    """

    trial_id: str
    point: dict[str, Any]
    val_dice: float
    stopped_after: int | None = None


class Inherited(Frozen):
    """What a search inherited from an earlier one."""

    source: str
    """The name of the earlier search."""
    same_data: bool
    differences: tuple[str, ...]
    """What else differed in the earlier search, in words."""
    same_otherwise: bool = True
    """Base model and fixed values are the same, so equal points are equal configurations."""
    left_out: int
    """Number of finished trials with a value outside the new search's ranges."""
    split_words: str = ""
    """What became of the earlier search's split, in sentences."""
    test_openings: int = 0
    """How often the new test part was used before this search: once for images that the earlier search trained or
    validated on, and once for each time that models were scored on it."""
    trials: tuple[InheritedTrial, ...]

    @property
    def words(self) -> str:
        """The warm start in sentences, on one line."""
        out = f" Left out, with a value outside this search's ranges: {self.left_out}." if self.left_out else ""
        return (
            f"Warm start: the sampler was told {count(len(self.trials), 'finished trial')} of the search "
            f"{self.source}, on {', '.join(['the same data' if self.same_data else 'other data', *self.differences])}."
            f"{out}{' ' if self.split_words else ''}{self.split_words}"
        )


def usable_trials(earlier: Path, space: SearchSpace) -> tuple[list[InheritedTrial], int]:
    """The finished trials of the search in `earlier` that lie in `space`, and the number of those that do not.

    Raises:
        UserError: it is no results folder, its search has other fields, or none of its trials can be used.
    """
    there = SearchSettings.load(earlier).search_space
    if differing := _differing_fields(there, space):
        raise UserError(
            f"--warm-start {earlier}: its trials come from another search space: {'; '.join(differing)}. "
            "Search the same fields in the same way, or leave --warm-start out."
        )
    trials = read_trials(earlier)
    ended = trials["state"].isin([TrialState.COMPLETE, TrialState.STOPPED]) & trials["best_val_dice"].notna()
    found = _points(trials[ended], space)
    if not found:
        raise UserError(
            f"--warm-start {earlier}: at least one of its finished trials must lie in the ranges searched here, and "
            f"none of {int(ended.sum())} does. Widen the ranges, wait for a trial, or leave --warm-start out."
        )
    return found, int(ended.sum()) - len(found)


def inherit(settings: SearchSettings, earlier: Path, folder: Path) -> Inherited:
    """What the new search inherits from the one in `earlier`.

    folder: has the new search's `environment.json` and `split.parquet`.

    Raises:
        UserError: as `usable_trials`, or a file of either search cannot be read.
    """
    trials, left_out = usable_trials(earlier, settings.search_space)
    there, here = (read_environment(place) for place in (earlier, folder))
    old = SearchSettings.load(earlier)
    found, before = overlap(earlier, folder), _openings(earlier)
    differences = []
    if is_other_base := there.base_model.sha256 != here.base_model.sha256:
        differences.append("with another base model")
    if old.epochs != settings.epochs:
        differences.append(f"with {count(old.epochs, 'epoch')} per trial instead of {settings.epochs}")
    then, now = (space.base.flat() for space in (old.search_space, settings.search_space))
    if fixed := [path for path in now if then[path] != now[path]]:
        differences.append(f"with other fixed values of {', '.join(fixed)}")
    return Inherited(
        source=old.name,
        same_data=there.data_fingerprint == here.data_fingerprint,
        differences=tuple(differences),
        same_otherwise=not is_other_base and not fixed,
        left_out=left_out,
        split_words=_split_words(found, before),
        test_openings=(before if found.tested_again else 0) + (1 if found.seen else 0),
        trials=tuple(trials),
    )


def _openings(earlier: Path) -> int:
    """How often the test part of the search in `earlier` was opened, before that search and by it."""
    if (own := openings(earlier)) is not None:
        return own  # includes those before that search
    inherited = read_inherited(earlier)
    return inherited.test_openings if inherited is not None else 0


def _split_words(found: Overlap, before: int) -> str:
    if not found.known:
        return ""
    sentences = [
        f"{count(found.known, 'image')} of that search {'is' if found.known == 1 else 'are'} used here, {found.moved} "
        "in another part."
        if found.moved
        else "Images of that search keep their parts."
    ]
    if found.tested_again and before:
        sentences.append(f"The test part has been scored {before} time{'' if before == 1 else 's'} before.")
    if found.seen:
        sentences.append(
            f"That search trained or validated on {found.seen} of the {count(found.tested, 'test image')}, so the test "
            "part counts as opened."
        )
    return " ".join(sentences)


def write_inherited(folder: Path, inherited: Inherited) -> None:
    """Writes `inherited.json`."""
    write_whole(folder / FILE_NAME, (json.dumps(inherited.model_dump(mode="json"), indent=1) + "\n").encode())


def read_inherited(folder: Path) -> Inherited | None:
    """What the search in `folder` inherited; None if it had no warm start.

    Raises:
        ResultsError: the file cannot be read.
    """
    try:
        return Inherited.model_validate_json((folder / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ResultsError(f"{folder / FILE_NAME}: cannot be read ({reason}). Put back a copy of it.") from error


def _differing_fields(there: SearchSpace, here: SearchSpace) -> list[str]:
    said = []
    for path in sorted({*there.dimensions, *here.dimensions}):
        if path not in there.dimensions or path not in here.dimensions:
            said.append(f"{path} is searched only {'here' if path in here.dimensions else 'there'}")
        elif (then := there.dimensions[path].kind) != (now := here.dimensions[path].kind):
            said.append(f"{path} is {then} there and {now} here")
    return said


def _points(trials: pd.DataFrame, space: SearchSpace) -> list[InheritedTrial]:
    found = []
    for row in trials.to_dict("records"):
        values = {p: row[p].tolist() if isinstance(row[p], np.ndarray) else row[p] for p in space.counting(row)}
        if all(space.dimensions[path].holds(value) for path, value in values.items()):
            point = {path: encode(value) for path, value in values.items()}
            stopped_after = int(row["epochs"]) if row["state"] == TrialState.STOPPED else None
            found.append(
                InheritedTrial(
                    trial_id=str(row["trial_id"]),
                    point=point,
                    val_dice=float(row["best_val_dice"]),
                    stopped_after=stopped_after,
                )
            )
    return found
