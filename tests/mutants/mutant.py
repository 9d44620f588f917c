"""A small fault, and the tests that should notice it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """file: below the repository. old: text that stands there once; new: what takes its place.

    tests: node ids, the cheapest that should fail. survives: why none can; such a fault is not tried.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    survives: str = ""

    @property
    def label(self) -> str:
        """One line."""
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}: {old} -> {new or 'nothing'}"
