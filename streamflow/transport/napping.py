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
from collections.abc import Callable
from typing import Any

import trio
from trio.lowlevel import Task

_LONGEST_S = 60.0


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
        self._watched: set[int] = set()
        self._is_taken = False

    @classmethod
    async def here(cls) -> Napping | None:
        """In the loop that runs; None where that is another trio than those that were tried."""
        try:
            from trio._core._run import GLOBAL_RUN_CONTEXT

            runner: Any = GLOBAL_RUN_CONTEXT.runner
            napping = cls(runner, runner.io_manager._epoll.fileno())
        except (ImportError, AttributeError):
            return None
        trio.lowlevel.add_instrument(napping._instrument)
        for _ in range(2):  # those that were to run before they were noted are in this round or in the next
            await trio.lowlevel.checkpoint()
        return napping

    async def wait_readable(self, descriptor: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Return when that is readable, or `is_over` says so after others in the loop had a turn.

        Whatever is waited for must stay open as long as this. Raises trio.BusyResourceError where another task waits.
        """
        if descriptor not in self._watched:
            self._watched.add(descriptor)
            self._poll.register(descriptor, select.EPOLLIN)
        if self._is_taken:
            raise trio.BusyResourceError("another task of this stage waits already")
        self._is_taken = True
        try:
            while not self._sleeps(_LONGEST_S):
                await trio.lowlevel.checkpoint()
                if is_over():
                    break
        finally:
            self._is_taken = False

    def others_wait(self) -> bool:
        """Whether trio has something to do: a checkpoint would not be in vain."""
        return not self._sleeps(0)

    def _sleeps(self, longest_s: float) -> bool:
        """Until something watched is readable; False where trio has something to do, which comes first."""
        if self._runnable:
            return False
        deadline = self._next_deadline()
        time_s = longest_s if deadline == math.inf else min(self._until(deadline), longest_s)
        if time_s < 0 or (time_s == 0 and longest_s):
            return False
        loop = self._loop
        for descriptor, _ in (ready := self._poll.poll(time_s)):
            if descriptor == loop:
                return False
        return bool(ready) or not longest_s

    def close(self) -> None:
        trio.lowlevel.remove_instrument(self._instrument)
        self._poll.close()
