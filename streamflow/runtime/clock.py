"""The one place where a clock is read: CLOCK_MONOTONIC, or trio's where time is virtual; and sleeping until an instant.

trio's own timeouts are whole milliseconds of epoll, rounded up, so a sleep ends about 1 ms late. A timerfd is
tens of microseconds late, and takes absolute instants, so a periodic source does not drift. In virtual time neither
is late: `TrioClock` under `MockClock(autojump_threshold=0)` is exact to the nanosecond.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Protocol

import trio

from streamflow.core.timebase import nanoseconds, s, seconds

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
VIRTUAL_START_NS = 1_000 * s  # what is recorded from before the start of a virtual run has positive instants too


class ClockTimer(Protocol):
    """Sleeps of one task."""

    async def sleep_until(self, instant_ns: int) -> None:
        """Return at `instant_ns`, or at once if it has passed; always a checkpoint."""

    def close(self) -> None: ...


class Clock(Protocol):
    """A timeline on which a run takes place."""

    def now_ns(self) -> int: ...
    def timer(self) -> ClockTimer: ...


def now_ns() -> int:
    """The current instant, in CLOCK_MONOTONIC ns: the same for every process of this host."""
    return time.monotonic_ns()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """Sleeps of one task. `os.timerfd_create` is Python 3.13's; the C library's serves every version."""

    def __init__(self) -> None:
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create: " + os.strerror(ctypes.get_errno()))
        self._setting = _Itimerspec()
        self._setting_reference = ctypes.byref(self._setting)

    async def sleep_until(self, instant_ns: int) -> None:
        """Return at `instant_ns`, or at once if it has passed; always a checkpoint."""
        if instant_ns <= now_ns():
            await trio.lowlevel.checkpoint()
            return
        value = self._setting.value
        value.seconds, value.nanoseconds = divmod(instant_ns, 1_000_000_000)
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._setting_reference, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime: " + os.strerror(ctypes.get_errno()))
        while now_ns() < instant_ns:
            await trio.lowlevel.wait_readable(self._fd)  # what has expired need not be read: setting it clears it

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class MonotonicClock:
    """The real one: CLOCK_MONOTONIC, and timerfds to sleep by."""

    now_ns = staticmethod(time.monotonic_ns)

    def timer(self) -> ClockTimer:
        return Timer()


class TrioClock:
    """Whatever clock trio runs by, virtual ones above all; only within `trio.run`.

    trio counts float seconds, MockClock from 0: for the first 48 days their steps are below half a nanosecond,
    so every instant is a whole number of nanoseconds again when it is reached.
    """

    def __init__(self, start_ns: int = VIRTUAL_START_NS) -> None:
        """`start_ns` is the instant at which trio's clock says 0."""
        self._start_ns = start_ns

    def now_ns(self) -> int:
        return self._start_ns + nanoseconds(trio.current_time())

    async def sleep_until(self, instant_ns: int) -> None:
        """For any number of tasks at once: it holds nothing."""
        await trio.lowlevel.checkpoint()
        if self.now_ns() < instant_ns:
            await trio.sleep_until(seconds(instant_ns - self._start_ns))

    def timer(self) -> ClockTimer:
        return _TrioTimer(self)


class _TrioTimer:
    def __init__(self, clock: TrioClock) -> None:
        self.sleep_until = clock.sleep_until

    def close(self) -> None:
        """Nothing is held."""
