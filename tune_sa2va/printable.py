"""Text from a data set as it may be shown: in a terminal, a log, or a file that people `cat`."""


def printable(text: str) -> str:
    """The text with control characters and broken Unicode as escapes, line ends among them."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """The same of several lines, which stay lines: a traceback."""
    return "\n".join(printable(line) for line in text.split("\n"))
