"""Passes commands and replies between a lane's owner and its workers: a threaded Ray actor that reserves no CPU.

Commands are numbered from 0 and sent one at a time: the owner posts the next one when it has the replies to the last.
Number -1 stands for the opening of the workers, which needs no command. Both sides block inside the actor instead of
polling, so a command reaches the workers within milliseconds.
"""

import threading
import time
from collections import defaultdict

from tune_sa2va.lane.messages import Command, Reply

OPENING = -1
"""The number under which workers reply once they are open."""


class Mailbox:
    """Holds the last command and the replies to it. As an actor it needs one thread for every process that may wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = OPENING
        self._command: Command | None = None
        self._replies: defaultdict[int, dict[int, Reply]] = defaultdict(dict)

    def post(self, command: Command) -> int:
        """For the owner: sets the next command. Returns its number."""
        with self._changed:
            self._replies.pop(self._number, None)
            self._number += 1
            self._command = command
            self._changed.notify_all()
            return self._number

    def command_after(self, number: int, timeout_s: float) -> tuple[int, Command] | None:
        """For a worker: waits for a command later than `number`. None if none came within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number, timeout_s)
            if self._number > number and self._command is not None:
                return self._number, self._command
            return None

    def reply(self, number: int, rank: int, reply: Reply) -> None:
        """For a worker: its reply to command `number`."""
        with self._changed:
            self._replies[number][rank] = reply
            self._changed.notify_all()

    def replies(self, number: int, num_workers: int, timeout_s: float) -> dict[int, Reply]:
        """For the owner: waits for all replies to command `number`. Rank -> reply; after `timeout_s`, those so far."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while len(self._replies[number]) < num_workers and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return dict(self._replies[number])
