"""The command line of a search as it was given, and the limits of its numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from tune_sa2va.config import MemoryMode
from tune_sa2va.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """The command line as given; None where a flag was left out and its default depends on the machine."""

    data: str | None
    allow_outside: bool
    model: str
    space: str
    out: Path
    name: str | None
    storage: str | None
    trials: int
    epochs: int
    confirm: int
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

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Flags":
        """Out of a command's parameters, which have the names of the fields; others among them do not matter."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls)})


def check_numbers(flags: Flags) -> None:
    """Whether the numbers among the flags lie where they may.

    Raises:
        UserError: one does not.
    """
    for flag, value in (("--trials", flags.trials), ("--epochs", flags.epochs)):
        if not 1 <= value <= 10_000:
            raise UserError(f"{flag} must be from 1 to 10000, got {value}.")
    for flag, value, least in (("--confirm", flags.confirm, 0), ("--seeds", flags.seeds, 1)):
        if not least <= value <= 100:
            raise UserError(f"{flag} must be from {least} to 100, got {value}.")
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
