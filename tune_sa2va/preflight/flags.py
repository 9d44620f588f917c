"""The command line of a search as given, and the limits of its numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from tune_sa2va.config import Absent, MemoryMode, OutlineRule
from tune_sa2va.errors import UserError

MAX_FOLDS = 20
"""Beyond it, another fold costs another whole training but gives each adapter hardly any more training images."""

MAX_SEATS = 64
"""Beyond it, the adapters and their moments alone fill a card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """The command line as given. None: the flag was left out, and is off or has a default that depends on the
    machine."""

    data: str | None
    allow_outside: bool
    model: str
    space: str
    out: Path
    name: str | None
    storage: str | None
    trials: int
    epochs: int
    folds: str
    grace_period: int
    reduction_factor: int
    final: str
    confirm: str
    seeds: int
    time_budget_min: float | None
    sampler: str
    warm_start: Path | None
    seed: int
    gpus: int | None
    gpus_per_trial: int
    lanes: int | None
    max_disk_gib: float | None
    cache_limit_gib: float | None
    memory: str
    address: str | None
    group_by: str | None = None
    outlines: OutlineRule | None = None
    labels: str | None = None
    absent: Absent = "drop"
    precision: str = "auto"
    trials_per_gpu: str = "1"

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Flags":
        """The flags among a command's parameters, which have the same names; other parameters are ignored."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls)})


def check_numbers(flags: Flags) -> None:
    """Checks the ranges of all numbers among the flags, and the choice of --memory.

    Raises:
        UserError: one is out of range.
    """
    for flag, value in (("--trials", flags.trials), ("--epochs", flags.epochs)):
        if not 1 <= value <= 10_000:
            raise UserError(f"{flag} must be from 1 to 10000, got {value}.")
    if not 1 <= flags.seeds <= 100:
        raise UserError(f"--seeds must be from 1 to 100, got {flags.seeds}.")
    parse_confirm(flags.confirm)
    parse_folds(flags.folds)
    parse_trials_per_gpu(flags.trials_per_gpu)
    if not 1 <= flags.grace_period <= flags.epochs:
        raise UserError(f"--grace-period must be from 1 to --epochs {flags.epochs}, got {flags.grace_period}.")
    if not 2 <= flags.reduction_factor <= 100:
        raise UserError(f"--reduction-factor must be from 2 to 100, got {flags.reduction_factor}.")
    if flags.memory not in get_args(MemoryMode):
        raise UserError(f"--memory must be one of {', '.join(get_args(MemoryMode))}, got {flags.memory!r}.")
    limits = (
        ("--time-budget", flags.time_budget_min, "minutes"),
        ("--max-disk", flags.max_disk_gib, "GiB"),
        ("--cache-limit", flags.cache_limit_gib, "GiB"),
    )
    for flag, limit, unit in limits:
        if limit is not None and not 0 < limit < math.inf:
            raise UserError(f"{flag} must be above 0 {unit}, got {limit:g}.")
    if not 0 <= flags.seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2147483647, got {flags.seed}.")


def parse_folds(given: str) -> int | None:
    """The number of folds that --folds asks for; None for `auto`.

    Raises:
        UserError: it is neither `auto` nor a number from 1 to MAX_FOLDS.
    """
    return _auto_or_number("--folds", given, 1, MAX_FOLDS, " (one split)")


def parse_confirm(given: str) -> int | None:
    """The number of configurations that --confirm asks to run again; None for `auto`.

    Raises:
        UserError: it is neither `auto` nor a number from 0 to 100.
    """
    return _auto_or_number("--confirm", given, 0, 100)


def parse_trials_per_gpu(given: str) -> int | None:
    """The number of trials that --trials-per-gpu asks for; None for `auto`.

    Raises:
        UserError: it is neither `auto` nor a number from 1 to MAX_SEATS.
    """
    return _auto_or_number("--trials-per-gpu", given, 1, MAX_SEATS)


def _auto_or_number(flag: str, given: str, least: int, most: int, what_least_is: str = "") -> int | None:
    if given == "auto":
        return None
    is_number = given.isascii() and given.isdigit() and len(given) < 10
    if not is_number or not least <= int(given) <= most:
        raise UserError(f"{flag} must be auto or a number from {least}{what_least_is} to {most}, got {given!r}.")
    return int(given)
