"""A warm start: the finished trials of an earlier search, as points that Optuna is told with their scores.

They are read once, when the search starts, and kept in `inherited.json` of its own results folder; the earlier folder
may go after that. They are no trials of the new search: its records do not hold them, so that they cannot win.
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
    """A trial of the earlier search. val_dice: of the epoch that it counts by.

    stopped_after: the last epoch of one that was stopped early; None for one that ran to the end.
    """

    trial_id: str
    point: dict[str, Any]
    val_dice: float
    stopped_after: int | None = None


class Inherited(Frozen):
    """What a search was given of an earlier one."""

    source: str
    """The name of the earlier search."""
    same_data: bool
    differences: tuple[str, ...]
    """What else was not the same there, in words."""
    same_otherwise: bool = True
    """Base model and fixed values are the same, so that a point of the space is the same configuration."""
    left_out: int
    """Finished trials with a value outside the new search's ranges."""
    split_words: str = ""
    """What became of the earlier search's split, in sentences."""
    test_openings: int = 0
    """How often the new test part has been looked at before this search, by what the sampler was told or by scores."""
    trials: tuple[InheritedTrial, ...]

    @property
    def words(self) -> str:
        """In one line."""
        out = f" Left out, as a value lies outside this search's ranges: {self.left_out}." if self.left_out else ""
        return (
            f"Warm start: before its first trial the sampler was told {len(self.trials)} finished trials of the search "
            f"{self.source}, on {', '.join(['the same data' if self.same_data else 'other data', *self.differences])}."
            f"{out}{' ' if self.split_words else ''}{self.split_words}"
        )


def usable_trials(earlier: Path, space: SearchSpace) -> tuple[list[InheritedTrial], int]:
    """The finished trials of the search in `earlier` that lie in `space`, and how many finished ones do not.

    Raises:
        UserError: no results folder, other fields are searched there, or no trial can be used.
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
            f"--warm-start {earlier}: none of its {int(ended.sum())} finished trials lies in the ranges searched here. "
            "Widen them, wait for its first trial, or leave --warm-start out."
        )
    return found, int(ended.sum()) - len(found)


def inherit(settings: SearchSettings, earlier: Path, folder: Path) -> Inherited:
    """What the new search gets of an earlier one. folder: has the new one's `environment.json` and `split.parquet`."""
    trials, left_out = usable_trials(earlier, settings.search_space)
    there, here = (read_environment(place) for place in (earlier, folder))
    old = SearchSettings.load(earlier)
    found, before = overlap(earlier, folder), _openings(earlier)
    differences = []
    if is_other_base := there.base_model.sha256 != here.base_model.sha256:
        differences.append("with another base model")
    if old.epochs != settings.epochs:
        differences.append(f"with {count(old.epochs, 'epoch')} a trial in place of {settings.epochs}")
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
        return own  # they begin with those before
    inherited = read_inherited(earlier)
    return inherited.test_openings if inherited is not None else 0


def _split_words(found: Overlap, before: int) -> str:
    if not found.known:
        return ""
    sentences = [
        f"Of its images {found.known} are here, and {found.moved} of them in another part than there."
        if found.moved
        else "Its images keep the parts that they had there."
    ]
    if found.tested_again and before:
        sentences.append(f"The test part has been scored {before} time{'' if before == 1 else 's'} before.")
    if found.seen:
        sentences.append(
            f"{found.seen} of the {found.tested} test images were trained or validated on there, so the test part "
            "counts as opened."
        )
    return " ".join(sentences)


def write_inherited(folder: Path, inherited: Inherited) -> None:
    """Writes `inherited.json`."""
    write_whole(folder / FILE_NAME, (json.dumps(inherited.model_dump(mode="json"), indent=1) + "\n").encode())


def read_inherited(folder: Path) -> Inherited | None:
    """What a search was given; None for one that started from nothing."""
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
