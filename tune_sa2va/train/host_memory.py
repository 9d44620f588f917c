"""Host memory for copies of trials on their way to disk.

With a GPU it is pinned, so that copies from the device are fast. It is kept, since new memory takes long.
"""

import threading
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class Piece:
    """Host memory for the copy of one checkpoint, in fp32."""

    values: Tensor = field(default_factory=lambda: torch.empty(0))


class HostMemory:
    """A few pieces of host memory, kept from one checkpoint to the next and made larger where they are too small."""

    def __init__(self, pieces: int, *, pinned: bool) -> None:
        self._pinned = pinned
        self._idle = [Piece() for _ in range(pieces)]
        self._changed = threading.Condition()

    def take(self, numel: int) -> Piece:
        """A piece for so many values; waits until one is idle. Give it back.

        It is the smallest that is large enough, so trials of several ranks that save together find theirs again. If
        none is, the largest grows, so a lane that saves one checkpoint at a time keeps one piece.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._idle)
            large = [piece for piece in self._idle if len(piece.values) >= numel]
            chosen = min(large, key=_size) if large else max(self._idle, key=_size)
            self._idle.remove(chosen)
        if not large:
            chosen.values = torch.empty(0)  # freed before more is asked for
            try:
                chosen.values = torch.empty(numel, pin_memory=self._pinned)
            except BaseException:
                self.give_back(chosen)
                raise
        return chosen

    def give_back(self, piece: Piece) -> None:
        """Makes a piece idle again."""
        with self._changed:
            self._idle.append(piece)
            self._changed.notify()


def _size(piece: Piece) -> int:
    return len(piece.values)
