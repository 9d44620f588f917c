"""A rerun of a trial, as Tune knows it: the point of the trial it repeats, with two keys more. No Ray here."""

from collections.abc import Mapping
from typing import Any

RERUN_OF, RERUN_SEED = "rerun.of", "rerun.seed"
"""Keys that no field of a trial has: the trial that is run again, and the rerun's `train.seed`."""


def rerun_point(point: Mapping[str, Any], parent: str, seed: int) -> dict[str, Any]:
    """What Tune is given for a rerun of `parent`, which was at `point`."""
    return {**point, RERUN_OF: parent, RERUN_SEED: seed}


def without_rerun(point: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the search space alone."""
    return {path: value for path, value in point.items() if path not in (RERUN_OF, RERUN_SEED)}


def rerun_id(parent: str, seed: int) -> str:
    """Such as "0003-seed7": how records, logs and folders call it."""
    return f"{parent}-seed{seed}"


def called(trial_id: str) -> str:
    """What a trial is called wherever one is named: by its id, of a rerun with what that says."""
    parent, is_rerun, seed = trial_id.partition("-seed")
    return f"{trial_id} (trial {parent} again with seed {seed})" if is_rerun else f"trial {trial_id}"
