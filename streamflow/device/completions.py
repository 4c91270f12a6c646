"""Tells tasks that work of a device is done: somebody else's thread waits, for the loop never does.

A thread wakes the loop by an eventfd: 15 µs, where a thread of trio's takes 170 and a sleep that polls a millisecond. A
device whose driver can only be waited for has a `Waiter`, a thread for each queue that does so (blocking, without the
GIL) in the order in which work was given; errors come out of that wait. *Not taken*: callbacks of the driver into
Python, which take the GIL in the driver's own thread while another may hold it and wait for the driver, and which are
not called at all after an error; asking whether an event is done, which after an error reads as "not yet" for ever.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

import trio

CLOSE_LIMIT_S: Final = 1.0
"""For a thread whose work may never be done; it is left behind then, and ends with the process."""


class Pending:
    """A ticket: done, or failed, once somebody has said so."""

    __slots__ = ("_bell", "device_ns", "done_ns", "failure", "is_done")

    def __init__(self, bell: Bell) -> None:
        self.is_done = False
        self.device_ns = 0
        self.done_ns = 0
        self.failure: BaseException | None = None
        self._bell = bell

    def finish(self, device_ns: int, failure: BaseException | None = None) -> None:
        """By any thread, once."""
        self.device_ns = device_ns
        self.failure = failure
        self.done_ns = time.monotonic_ns()
        self.is_done = True
        self._bell.ring()

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.is_done:
            await self._bell.rung()
        if self.failure is not None:
            raise self.failure


class Bell:
    """Rung by threads, heard by tasks of one loop."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._others = trio.lowlevel.ParkingLot()
        self._has_listener = False
        self._is_closed = False
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:  # the number may be another file's once it was closed
            if not self._is_closed:
                os.eventfd_write(self._fd, 1)

    async def rung(self) -> None:
        """Return when it was rung since somebody last heard it. One task listens for all."""
        if self._has_listener:
            await self._others.park()
            return
        self._has_listener = True
        try:
            await trio.lowlevel.wait_readable(self._fd)
            os.eventfd_read(self._fd)
        finally:
            self._has_listener = False
            self._others.unpark_all()

    def close(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._fd)


class Waiter:
    """A thread that waits for what it is given, one after the other."""

    def __init__(self, name: str, begin: Callable[[], None] = lambda: None) -> None:
        """`begin` is called once in the thread, first of all: a driver may have settings for each thread."""
        self._bell = Bell()
        self._given: SimpleQueue[tuple[Pending, Callable[[], int]] | None] = SimpleQueue()
        self._begin = begin
        self._thread = threading.Thread(target=self._wait_for_all, name=name, daemon=True)
        self._thread.start()

    def add(self, wait: Callable[[], int]) -> Pending:
        """A ticket of what `wait` blocks for; it returns how long the device was at it, in ns, or raises."""
        ticket = Pending(self._bell)
        self._given.put((ticket, wait))
        return ticket

    def close(self) -> None:
        """When all that was given is done, or after `CLOSE_LIMIT_S`: who never is holds nobody up."""
        self._given.put(None)
        self._thread.join(CLOSE_LIMIT_S)
        self._bell.close()

    def _wait_for_all(self) -> None:
        failure: BaseException | None = None
        try:
            self._begin()
        except BaseException as error:
            failure = error
        while (given := self._given.get()) is not None:
            ticket, wait = given
            if failure is not None:
                ticket.finish(0, failure)
                continue
            try:
                device_ns = wait()
            except BaseException as error:
                ticket.finish(0, error)
            else:
                ticket.finish(device_ns)
