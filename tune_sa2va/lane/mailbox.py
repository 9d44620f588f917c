"""The meeting point of a lane's owner and its workers: a threaded Ray actor that takes no CPU.

Commands are numbered from 0 and go one at a time: the owner posts the next one when it has the answers to the last.
Number -1 stands for the opening of the workers, which nobody has to ask for. Both sides wait inside the actor, so
that nobody polls: a command reaches the workers within milliseconds.
"""

import threading
import time
from collections import defaultdict

from tune_sa2va.lane.messages import Command, Reply

OPENING = -1
"""The number under which workers answer once they are open."""


class Mailbox:
    """Holds the last command and the answers to it. As an actor it needs a thread for everyone who may wait in it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = OPENING
        self._command: Command | None = None
        self._answers: defaultdict[int, dict[int, Reply]] = defaultdict(dict)

    def post(self, command: Command) -> int:
        """The owner's next command; gives back its number."""
        with self._changed:
            self._answers.pop(self._number, None)
            self._number += 1
            self._command = command
            self._changed.notify_all()
            return self._number

    def command_after(self, number: int, timeout_s: float) -> tuple[int, Command] | None:
        """A worker's wait for a command later than `number`; None when none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number, timeout_s)
            if self._number > number and self._command is not None:
                return self._number, self._command
            return None

    def answer(self, number: int, rank: int, answer: Reply) -> None:
        """A worker's answer to command `number`."""
        with self._changed:
            self._answers[number][rank] = answer
            self._changed.notify_all()

    def answers(self, number: int, num_workers: int, timeout_s: float) -> dict[int, Reply]:
        """The owner's wait for all answers to command `number`; after `timeout_s`, those that are there."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while len(self._answers[number]) < num_workers and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return dict(self._answers[number])
