"""Numbers as a reader of a report wants them."""

import math
from typing import Any


def duration(seconds: float) -> str:
    """`53 s`, `61 min`, `3.4 h`: two digits that matter."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def number(value: float, digits: int = 3) -> str:
    """With so many decimals; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with its sign."""
    return "–" if math.isnan(value) else f"{value:+.{digits}f}"


def count(amount: int, thing: str, things: str | None = None) -> str:
    """`1 trial`, `3 trials`."""
    return f"{amount} {thing if amount == 1 else things or thing + 's'}"


def setting(value: Any) -> str:
    """A hyperparameter's value: four digits of a fraction, a list by its parts."""
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value)) if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
