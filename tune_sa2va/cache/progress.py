"""Progress of filling the cache: a bar on a terminal, otherwise a line every ten seconds. Silent if none is missing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tune_sa2va.cache.fill import FillProgress

_LINE_EVERY_S = 10.0


@contextmanager
def shown_progress() -> Iterator[Callable[[FillProgress], None]]:
    """Yields a callback for `fill`'s `on_progress`, which writes to stderr."""
    if sys.stderr.isatty():
        columns = (TextColumn("encoding pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda now: bar.update(task, completed=now.present, total=now.total)
    else:
        yield _Lines()


class _Lines:
    """Prints plain lines: the first report with missing pictures, then one every `_LINE_EVERY_S`, and the last."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._reported_all = True

    def __call__(self, now: FillProgress) -> None:
        is_last = now.present == now.total
        if (is_last and self._reported_all) or (not is_last and time.monotonic() < self._next_s):
            return
        self._reported_all = is_last
        self._next_s = time.monotonic() + _LINE_EVERY_S
        print(f"encoding pictures: {now.present:,} of {now.total:,}, {now.seconds:.0f} s", file=sys.stderr)
