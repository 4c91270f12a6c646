"""A process that does not outlive the one that started it: the kernel sees to it. Imports nothing that takes time."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies; ends it at once if the parent is gone already.

    It comes when the thread ends that has started this process.
    """
    prctl(_PR_SET_PDEATHSIG, int(by))
    if os.getppid() != parent_pid:
        os._exit(1)


def prctl(option: int, argument: Any) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl: " + os.strerror(ctypes.get_errno()))
