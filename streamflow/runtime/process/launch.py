"""Processes of the run as their supervisor holds them: watched by a descriptor, never outliving it.

A stage starts cold, as a new interpreter (`StageProcess`), or warm, forked by the fork server (`fork_server`); a
person may start one by hand (`ForeignProcess`). What holds them is alike: `wait` says how it ended, `kill` takes what
it has started along, `stop_state` tells one that stands still from one that works.

The parent-death signal belongs to the thread that started the process, so they are started from the thread that lives
as long as the supervisor: a worker thread's end would kill the children.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import trio

from streamflow.runtime.process.parent_death import prctl
from streamflow.runtime.rundir import RunFolder

STAGE_MODULE = "streamflow.runtime.process.stage_process"
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


class ChildProcess:
    """A process of the run whose parent this one is; the leader of a process group of its own."""

    def __init__(self, process: str, pid: int) -> None:
        self.process = process
        self.pid = pid
        self._fd = os.pidfd_open(pid)  # of a child that has ended too: it stays until it is reaped, which is here
        self._how = ""

    async def wait(self) -> str:
        """Return when it has ended, how: `was killed by SIGKILL`, `ended with status 1`."""
        await trio.lowlevel.wait_readable(self._fd)
        return self._reap()

    def kill(self) -> None:
        """Kill it and what it has started, as long as it has not been reaped: until then its group is its own."""
        if not self._how:
            os.killpg(self.pid, signal.SIGKILL)

    def stop_state(self) -> str:
        """The letter of its state: `T` when it is stopped, `X` when it is no more."""
        return process_state(self.pid)

    def close(self) -> None:
        """Kill it if it lives, reap it, and let go of the descriptor."""
        self._reap()
        os.close(self._fd)

    def _reap(self) -> str:
        if not self._how:
            self.kill()
            self._how = how_ended(self._collect())
        return self._how

    def _collect(self) -> int:
        """Its return code, once: negative for the signal that ended it."""
        ended = os.waitid(os.P_PIDFD, self._fd, os.WEXITED)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


class StageProcess(ChildProcess):
    """One that starts cold: a new interpreter, which imports and builds everything for itself."""

    def __init__(
        self, folder: RunFolder, process: str, generation: int = 0, options: Mapping[str, Any] | None = None
    ) -> None:
        """`options`: fields of the worker's options that differ from the run's."""
        self._popen = subprocess.Popen(
            stage_command(folder.path, process, os.getpid(), generation, options or {}),
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches the supervisor, which drains
        )
        super().__init__(process, self._popen.pid)

    def _collect(self) -> int:
        return self._popen.wait()


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

    def stop_state(self) -> str:
        return process_state(self.pid)

    def close(self) -> None:
        os.close(self._fd)


def stage_command(folder: Path, process: str, parent: int, generation: int, options: Mapping[str, Any]) -> list[str]:
    """The command line by which a stage's process is started, and by which a user finds it in `ps`."""
    more = [json.dumps(dict(options))] if options else []
    return [sys.executable, "-m", STAGE_MODULE, str(folder), process, str(parent), str(generation), *more]


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


def process_state(pid: int) -> str:
    """The letter of /proc/PID/stat: R, S, D, T (stopped), t (traced), Z; X where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return stat.rpartition(")")[2].split()[0]


def how_ended(status: int) -> str:
    """A process's return code as people say it."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def is_subreaper() -> bool:
    """Whether orphans among this process's descendants become its children."""
    answer = ctypes.c_int()
    prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer))
    return bool(answer.value)


def become_subreaper(wanted: bool = True) -> None:
    """Whoever loses its parent below this process becomes a child of this one, which is told how it ends."""
    prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


def reap_orphans(known_pids: Collection[int]) -> int:
    """Let go of ended children that nobody here waits for: what stages had started, and left behind; how many.

    It looks first and takes then, so that no status of a `known_pids` process is lost to who waits for it. One of
    those that has ended and is not reaped yet hides the others: they are found the next time.
    """
    count = 0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return count
        if ended is None or ended.si_pid in known_pids:
            return count
        os.waitpid(ended.si_pid, 0)
        count += 1
