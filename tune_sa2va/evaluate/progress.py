"""Progress over images on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

_LINE_EVERY_S = 10.0

Item = TypeVar("Item")


def tracked(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yields the items and shows how many have been consumed. what: a word for the work, such as `predicting`."""
    if sys.stderr.isatty():
        yield from track(items, description=what, console=Console(stderr=True), transient=True)
        return
    started = time.monotonic()
    next_s = started + _LINE_EVERY_S
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if done + 1 == len(items) or now >= next_s:
            print(f"{what}: {done + 1:,} of {len(items):,}, {now - started:.0f} s", file=sys.stderr, flush=True)
            next_s = now + _LINE_EVERY_S
