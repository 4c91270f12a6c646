"""The one place where the clock is read: CLOCK_MONOTONIC, and sleeping until an instant of it.

trio's own timeouts are whole milliseconds of epoll, rounded up, so a sleep ends about 1 ms late. A timerfd is
tens of microseconds late, and takes absolute instants, so a periodic source does not drift.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time

import trio

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


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

    async def sleep_until(self, instant_ns: int) -> None:
        """Return at `instant_ns`, or at once if it has passed; always a checkpoint."""
        await trio.lowlevel.checkpoint()
        if instant_ns <= now_ns():
            return
        value = _Timespec(*divmod(instant_ns, 1_000_000_000))
        setting = _Itimerspec(_Timespec(0, 0), value)
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime: " + os.strerror(ctypes.get_errno()))
        while now_ns() < instant_ns:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                os.read(self._fd, 8)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
