"""Runs one command and leaves nothing of it: no process, no shared memory, whatever it started and however it ends.

The rule it keeps: only what came from the command is ended. The guard is a process of its own that adopts every
orphan below it, so the whole tree can be found however the peer's daemons detach themselves; process groups and
sessions would miss those. Should the runner die, the guard is told and does the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

SHARED_MEMORY = Path("/dev/shm")
TIMED_OUT = 124  # the exit code of a command that ran past its limit, as of `timeout`
GRACE_S = 10.0  # what the guard itself may take beyond the command's limit
POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Ended:
    """How a guarded command ended, and the text that it wrote."""

    code: int
    output: str
    errors: str


def guarded(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float) -> Ended:
    """Run the command below a guard; when this returns, none of its processes is left."""
    line = [sys.executable, "-m", "tools.bench.peers.guard", str(timeout_s), *command]
    process = subprocess.Popen(
        line,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what stops the runner, ctrl-C as well, reaches the guard through this process only
    )
    try:
        output, errors = process.communicate(timeout=timeout_s + GRACE_S)
    finally:
        if process.poll() is None:
            process.terminate()  # and not kill: a killed guard could not end what it guards
            process.communicate()
    return Ended(process.returncode, output, errors)


def shared_names() -> set[str]:
    """What is in the host's shared memory now."""
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir(SHARED_MEMORY))
    return set()


def sweep(patterns: Iterable[str], before: set[str]) -> list[str]:
    """Remove what has appeared since `before`, bears such a name and no living process uses; the names removed."""
    new = {name for name in shared_names() - before if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}
    removed = sorted(new - _in_use(new)) if new else []
    for name in removed:
        (SHARED_MEMORY / name).unlink(missing_ok=True)
    return removed


def _in_use(names: set[str]) -> set[str]:
    paths = {str(SHARED_MEMORY / name): name for name in names}
    used = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mapped = (process / "maps").read_text(errors="replace")
            used |= {name for path, name in paths.items() if path in mapped}
        with contextlib.suppress(OSError):
            for handle in (process / "fd").iterdir():
                used |= {paths[target]} if (target := os.readlink(handle)) in paths else set()
    return used


def main() -> int:
    """The guard's own process: limit in seconds, then the command."""
    timeout_s, command = float(sys.argv[1]), sys.argv[2:]
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        process = subprocess.Popen(command)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _end_all()


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _end_all() -> None:
    """Until there is no descendant: what a killed process leaves behind becomes a child of this one."""
    while below := _descendants():
        for identity in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity, signal.SIGKILL)
        _reap()
        time.sleep(POLL_S)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found: list[int] = []
    waiting = list(children.get(os.getpid(), []))
    while waiting:
        identity = waiting.pop()
        found.append(identity)
        waiting += children.get(identity, [])
    return found


if __name__ == "__main__":
    sys.exit(main())
