"""Stage processes: started by name, watched by a descriptor, never outliving their supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import trio

from streamflow.runtime.rundir import RunFolder

_PR_SET_PDEATHSIG = 1


class StageProcess:
    """A process of the run that this one started.

    It is started from the thread that lives as long as the supervisor: the parent-death signal belongs to
    the starting thread, and a worker thread's end would kill the children.
    """

    def __init__(self, folder: RunFolder, process: str) -> None:
        self.process = process
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "streamflow.runtime.stage_process", str(folder.path), process, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches the supervisor, which drains
        )
        self._fd = os.pidfd_open(self._popen.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def wait(self) -> str:
        """Return when it has ended, how: `was killed by SIGKILL`, `ended with status 1`."""
        await trio.lowlevel.wait_readable(self._fd)
        return how_ended(self._reap())

    def kill(self) -> None:
        """Kill it and what it has started, as long as it has not been reaped: until then its group is its own."""
        if self._popen.returncode is None:
            os.killpg(self._popen.pid, signal.SIGKILL)

    def _reap(self) -> int:
        self.kill()
        return self._popen.wait()

    def close(self) -> None:
        """Kill it if it lives, reap it, and let go of the descriptor."""
        self._reap()
        os.close(self._fd)


class ForeignProcess:
    """A process of the run that a person started by hand: watched and killed alike, but not ours to reap."""

    def __init__(self, process: str, pid: int) -> None:
        self.process = process
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    async def wait(self) -> str:
        await trio.lowlevel.wait_readable(self._fd)
        return "has ended"

    def kill(self) -> None:
        try:
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended by itself

    def close(self) -> None:
        os.close(self._fd)


async def wait_ended(pid: int) -> None:
    """Return when the process, which need not be a child of this one, has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def how_ended(status: int) -> str:
    """A process's return code as people say it."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; ends it at once if the parent is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl: " + os.strerror(ctypes.get_errno()))
    if os.getppid() != parent_pid:
        os._exit(1)
