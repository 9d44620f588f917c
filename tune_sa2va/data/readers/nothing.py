"""Words that tables and tools write for a missing value."""

_WORDS = frozenset({"nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat"})


def says_nothing(text: str) -> bool:
    """Whether `text` is a word for a missing value, in any case: no vessel and no patient is called nan."""
    return text.strip().casefold() in _WORDS
