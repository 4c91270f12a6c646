"""Sleeping in a task that has its process to itself, without a turn of trio's loop for each datum.

A turn of the loop is a third of what a stage does for a small datum that comes alone: run from cold caches it takes
longer than the wake itself. So a task that waits for one descriptor, with nobody else to run, sleeps in the kernel on
that one and on trio's own set of descriptors together, and gives trio a turn when there is something for it.

trio has no public name for its set of descriptors. Where it is not where it was in the versions that were tried,
`Napping.here` is None, and everybody waits in trio as usual. *Not taken*: trio's guest mode, which is public, and
waits in a thread of its own: every control message and timer would cost two wakes more.
"""

from __future__ import annotations

import math
import select
from importlib import import_module
from typing import Any

import trio
from trio.lowlevel import Task

LONGEST_S = 60.0


class _Runnable(trio.abc.Instrument):
    """The tasks that have something to do, and have not had their turn."""

    def __init__(self) -> None:
        self.tasks: set[Task] = set()

    def task_scheduled(self, task: Task) -> None:
        self.tasks.add(task)

    def before_task_step(self, task: Task) -> None:
        self.tasks.discard(task)


class Napping:
    """Of one loop, for the one task in it that works on data. Use `here`."""

    def __init__(self, runner: Any, descriptor: int) -> None:
        self._instrument = _Runnable()
        self._runnable = self._instrument.tasks
        self._next_deadline = runner.deadlines.next_deadline
        self._until = runner.clock.deadline_to_sleep_time
        self._loop = descriptor
        self._poll = select.epoll()
        self._poll.register(descriptor, select.EPOLLIN)
        self._watched = -1
        self._alarm = -1

    @classmethod
    async def here(cls) -> Napping | None:
        """In the loop that runs; None where that is another trio than those that were tried."""
        try:
            runner: Any = import_module("trio._core._run").GLOBAL_RUN_CONTEXT.runner
            napping = cls(runner, runner.io_manager._epoll.fileno())
        except (ImportError, AttributeError):
            return None
        trio.lowlevel.add_instrument(napping._instrument)
        for _ in range(2):  # those that were to run before they were noted are in this round or in the next
            await trio.lowlevel.checkpoint()
        return napping

    def sleeps(self, descriptor: int, longest_s: float = LONGEST_S) -> bool:
        """Sleep until that can be read, or the alarm goes off; False where trio has something to do, which comes first.

        Or after `longest_s`. Then a checkpoint is due. Whatever is waited for must stay open as long as this.
        """
        if descriptor != self._watched:
            if self._watched >= 0:
                self._poll.unregister(self._watched)
            self._watched = descriptor
            self._poll.register(descriptor, select.EPOLLIN)
        if self._runnable:
            return False
        deadline = self._next_deadline()
        time_s = longest_s if deadline == math.inf else min(self._until(deadline), longest_s)
        if time_s <= 0:
            return False
        found = self._poll.poll(time_s)
        return bool(found) and all(ready != self._loop for ready, _ in found)

    def arm(self, alarm: int) -> None:
        """Whenever that can be read, once, the sleep is over. It must stay open as long as this."""
        if alarm != self._alarm:
            self._alarm = alarm
            self._poll.register(alarm, select.EPOLLIN | select.EPOLLONESHOT)
        else:
            self._poll.modify(alarm, select.EPOLLIN | select.EPOLLONESHOT)

    def others_wait(self) -> bool:
        """Whether trio has something to do: a checkpoint would not be in vain."""
        if self._runnable or self._until(self._next_deadline()) <= 0:
            return True
        return any(ready == self._loop for ready, _ in self._poll.poll(0))

    def close(self) -> None:
        trio.lowlevel.remove_instrument(self._instrument)
        self._poll.close()
