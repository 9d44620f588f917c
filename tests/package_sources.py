"""Searches the source of every module of the package."""

from collections.abc import Callable, Iterable
from pathlib import Path

import tune_sa2va

PACKAGE = Path(tune_sa2va.__file__).parent


def found_in_modules(look: Callable[[str], Iterable[str]]) -> list[str]:
    """What `look` finds in the source of each module, prefixed with the module's name."""
    return [
        f"{path.relative_to(PACKAGE)}, {found}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for found in look(path.read_text(encoding="utf-8"))
    ]
