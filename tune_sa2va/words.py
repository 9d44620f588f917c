"""Formats numbers and settings for people to read."""

import math
from collections.abc import Iterable
from typing import Any


def duration(seconds: float) -> str:
    """`53 s`, `61 min` or `3.4 h`: about two significant digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def number(value: float, digits: int = 3) -> str:
    """The value with `digits` decimals; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """As `number`, always with a sign."""
    return "–" if math.isnan(value) else f"{value:+.{digits}f}"


def count(amount: int, thing: str, things: str | None = None) -> str:
    """`1 trial`, `3 trials`. things: the plural, where it is not `thing` with an s."""
    return f"{amount} {thing if amount == 1 else things or thing + 's'}"


def listed(names: Iterable[str], most: int) -> str:
    """`a, b, c and 2 more`: at most `most` names."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def setting(value: Any) -> str:
    """The value of a hyperparameter: four significant digits of a float, yes or no, the parts of a list joined by +."""
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value)) if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
