"""What a case of the corpus is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One bad input: how it is made, the command that meets it, and what the command must say.

    make: writes the input below the folder it is given and returns the command line after `tune-sa2va`.
    says: what must stand in the output, the thing at fault and the cure among it.
    exit_code: 2 for wrong use or input that cannot be read at all; 1 for a data set with faulty files.
    """

    name: str
    make: Callable[[Path], list[str]]
    says: tuple[str, ...]
    exit_code: int = 2
