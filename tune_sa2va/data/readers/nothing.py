"""What tables write where they have nothing to say."""

_WORDS = frozenset({"nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat"})


def says_nothing(text: str) -> bool:
    """Whether `text` is a word for nothing, in any capitals: no vessel and no patient is called nan."""
    return text.strip().casefold() in _WORDS
