"""Who gets a processor first: the supervisor before the stages that it watches, where this user may have that.

Stages that compute keep every processor busy, and a process that wakes waits its turn behind them: milliseconds, which
is how late a miss would be seen. A supervisor of real-time priority does not wait. It takes a few hundredths of a core
and the kernel's own limit (95 % of a second) holds for it too. What it starts meanwhile is to run as it would have
without: `lowered` is for that, and the kernel is told to reset whoever is forked in spite of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FIFO_PRIORITY = 1  # the lowest of real time: before all that is ordinary, after all that is real time by someone's will
NICE = -10
NONE = "none"
_REAL_TIME = {os.SCHED_FIFO: "SCHED_FIFO", os.SCHED_RR: "SCHED_RR"}


class Priority:
    """Of the thread that makes it, and the only one to call it. What it has at first is its own."""

    def __init__(self) -> None:
        self._policy = os.sched_getscheduler(0)
        self._parameter = os.sched_getparam(0)
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._is_raised = False

    def raise_it(self) -> str:
        """As high as this user may have it, and what that is, for people: `SCHED_FIFO 1`, `nice -10`, `none`."""
        own = _REAL_TIME.get(self._policy & ~os.SCHED_RESET_ON_FORK)
        if own is not None:
            return f"{own} {self._parameter.sched_priority}, as it was started"
        self._is_raised = True
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
            return f"SCHED_FIFO {FIFO_PRIORITY}"
        with suppress(OSError):
            if self._nice > NICE:
                os.setpriority(os.PRIO_PROCESS, 0, NICE)
                return f"nice {NICE}"
        self._is_raised = False
        return NONE

    @contextmanager
    def lowered(self) -> Iterator[None]:
        """Its own meanwhile: whoever is started inherits that."""
        was_raised = self._is_raised
        self.restore()
        try:
            yield
        finally:
            if was_raised:
                self.raise_it()

    def restore(self) -> None:
        """What it had at first."""
        if not self._is_raised:
            return
        self._is_raised = False
        try:
            os.sched_setscheduler(0, self._policy, self._parameter)
        except PermissionError:  # who may not raise it may not take back the order to reset either; it does no harm
            os.sched_setscheduler(0, self._policy | os.SCHED_RESET_ON_FORK, self._parameter)
        os.setpriority(os.PRIO_PROCESS, 0, self._nice)


def obtainable() -> str:
    """What a supervisor of this user would get now; tried in a thread of its own, which ends at once."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(Priority().raise_it()))
    thread.start()
    thread.join()
    return found[0]
