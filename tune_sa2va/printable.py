"""Makes text from a data set safe to show in a terminal, a log, or a file that people `cat`."""


def printable(text: str) -> str:
    """The text with escapes for control characters, line ends included, and for broken Unicode."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """As `printable`, but line ends stay: for tracebacks."""
    return "\n".join(printable(line) for line in text.split("\n"))
