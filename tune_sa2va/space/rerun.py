"""A rerun of a trial as Tune has it: the point of the trial that it repeats, with two more keys. Imports no Ray."""

from collections.abc import Mapping
from typing import Any

RERUN_OF, RERUN_SEED = "rerun.of", "rerun.seed"
"""Keys that are no field of a trial: the id of the trial that is run again, and the rerun's `train.seed`."""


def rerun_point(point: Mapping[str, Any], parent: str, seed: int) -> dict[str, Any]:
    """The point that Tune gets for a rerun of the trial `parent`, whose own point is `point`."""
    return {**point, RERUN_OF: parent, RERUN_SEED: seed}


def without_rerun(point: Mapping[str, Any]) -> dict[str, Any]:
    """The point without the keys of a rerun: a point of the search space."""
    return {path: value for path, value in point.items() if path not in (RERUN_OF, RERUN_SEED)}


def rerun_id(parent: str, seed: int) -> str:
    """The id of a rerun in records, logs and folders, such as "0003-seed7"."""
    return f"{parent}-seed{seed}"


def called(trial_id: str) -> str:
    """A trial's name in sentences: "trial 0003", or "0003-seed7 (trial 0003 again with seed 7)"."""
    parent, is_rerun, seed = trial_id.partition("-seed")
    return f"{trial_id} (trial {parent} again with seed {seed})" if is_rerun else f"trial {trial_id}"
