"""What a search shows while it runs: on a terminal a table of the running trials, elsewhere a line an epoch."""

import math
import time
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table


@dataclass(slots=True)
class _Shown:
    """A trial as the screen knows it."""

    number: int
    epoch: int = 0
    val_dice: float = 0.0
    loss: float = 0.0
    best: float = 0.0


class Screen:
    """Prints as events come; `close` it to leave the terminal whole."""

    def __init__(self, *, trials: int, epochs: int, lanes: int) -> None:
        self._trials, self._epochs, self._lanes = trials, epochs, lanes
        self._console = Console(highlight=False, soft_wrap=True)
        self._shown: dict[str, _Shown] = {}
        self._running: set[str] = set()
        self._ended_epochs: list[int] = []
        self._seconds = 0.0
        self._num_epochs = 0
        self._live = Live(self._table(), console=self._console, transient=True) if self._console.is_terminal else None
        if self._live:
            self._live.start()

    def knows(self, trial_id: str, *, number: int, epoch: int, best: float, ended: bool) -> None:
        """A trial of the search that is resumed."""
        self._shown[trial_id] = _Shown(number=number, epoch=epoch, best=0.0 if math.isnan(best) else best)
        if ended:
            self._ended_epochs.append(epoch)

    def started(self, trial_id: str, number: int) -> None:
        """A trial runs, for the first time or again."""
        self._shown.setdefault(trial_id, _Shown(number=number))
        self._running.add(trial_id)
        self._refresh()

    def epoch(self, trial_id: str, *, epoch: int, val_dice: float, loss: float, seconds: float, warning: str) -> None:
        """A trial has an epoch more."""
        shown = self._shown[trial_id]
        shown.epoch, shown.val_dice, shown.loss = epoch, val_dice, loss
        shown.best = max(shown.best, val_dice)
        self._seconds += seconds
        self._num_epochs += 1
        if self._live is None:
            self._say(
                f"trial {shown.number + 1}/{self._trials}  epoch {epoch}/{self._epochs}  val Dice {val_dice:.4f}  "
                f"loss {loss:.4f}  {self._best()}  {self._left()}"
            )
        if warning:
            self._say(f"trial {shown.number + 1}/{self._trials}  epoch {epoch}: {warning}")
        self._refresh()

    def ended(self, trial_id: str, state: str, reason: str = "") -> None:
        """A trial will not go on."""
        shown = self._shown[trial_id]
        self._running.discard(trial_id)
        self._ended_epochs.append(shown.epoch)
        why = f": {reason}" if reason else ""
        self._say(
            f"trial {shown.number + 1}/{self._trials}  {state} after {shown.epoch} epochs, "
            f"best val Dice {shown.best:.4f}{why}"
        )
        self._refresh()

    def interrupted(self, trial_id: str, reason: str) -> None:
        """A trial lost its workers and will go on from its last checkpoint."""
        self._running.discard(trial_id)
        self._say(
            f"trial {self._shown[trial_id].number + 1}/{self._trials}  goes on from its last checkpoint: {reason}"
        )
        self._refresh()

    def close(self) -> None:
        """Takes the table away."""
        if self._live:
            self._live.stop()
            self._live = None

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def _refresh(self) -> None:
        if self._live:
            self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(title=f"{self._best()}  {self._left()}", title_justify="left")
        for header in ("trial", "epoch", "val Dice", "best", "loss"):
            table.add_column(header, justify="right")
        for trial_id in sorted(self._running, key=lambda running: self._shown[running].number):
            shown = self._shown[trial_id]
            scores = (f"{value:.4f}" if shown.epoch else "" for value in (shown.val_dice, shown.best, shown.loss))
            table.add_row(f"{shown.number + 1}/{self._trials}", f"{shown.epoch}/{self._epochs}", *scores)
        return table

    def _best(self) -> str:
        if not self._num_epochs:
            return "no epoch yet"
        best = max(self._shown.values(), key=lambda shown: shown.best)
        return f"best {best.best:.4f} (trial {best.number + 1})"

    def _left(self) -> str:
        """When the search will end, if the coming trials are stopped as early as those that have ended."""
        if not self._num_epochs:
            return "waiting for the first epoch (the model loads, and images are encoded once)"
        ended = self._ended_epochs
        a_trial = sum(ended) / len(ended) if ended else self._epochs
        to_come = (self._trials - len(ended) - len(self._running)) * a_trial
        to_come += sum(max(a_trial - self._shown[trial_id].epoch, 1) for trial_id in self._running)
        left_s = to_come * self._seconds / self._num_epochs / self._lanes
        return f"ends about {time.strftime('%H:%M:%S', time.localtime(time.time() + left_s))}"
