"""A fork server that is a copy of the process that will be the supervisor, made before that has loop, sockets, threads.

That process has imported and built what a server needs, so a run imports once: a start takes two thirds of what it
takes when the server is a program of its own, and half the processor time. `ForkServer` takes it over when the run has
its folder; one that is not taken over is ended. *Not taken*: to begin the program early, beside the supervisor's own
imports; on two processors that share a core both then take twice as long.

Its copies leave by SystemExit, through the frames of whoever called `EarlyServer`, so only a program that means to end
may call it, and outside of any `with` or `finally` that is the supervisor's alone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import TracebackType

from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.process.fork_server import fork, preload, serve
from streamflow.runtime.process.process_title import show_as
from streamflow.runtime.process.stage_process import prepare_process


class EarlyServer:
    """Our hold on it. `process` is None where it could not be made."""

    def __init__(self, loaded: Loaded) -> None:
        """Raises SystemExit in the server, and in its copies, when they are done."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = fork()
        if pid == 0:
            self.channel.close()
            _become_server(theirs, parent, loaded)
            sys.exit(0)
        theirs.close()
        self.process = None if pid is None else ForkedChild(pid)
        self._is_taken = False

    def take_over(self) -> None:
        """From now on it is somebody else's to end."""
        self._is_taken = True

    def close(self) -> None:
        """End it, unless somebody has taken it over."""
        if not self._is_taken:
            self._is_taken = True
            self.channel.close()
            if self.process is not None:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> EarlyServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ForkedChild:
    """A child that this process has forked, held as `subprocess.Popen` holds one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._has_ended = False

    def poll(self) -> int | None:
        """None while it lives; else 0, reaped."""
        if not self._has_ended:
            self._has_ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        return 0 if self._has_ended else None

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if not self._has_ended:
            os.waitpid(self.pid, 0)
            self._has_ended = True
        return 0


def _become_server(channel: socket.socket, parent: int, loaded: Loaded) -> None:
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.__stdin__.fileno() if sys.__stdin__ is not None else 0)
    os.close(nothing)
    prepare_process(parent)
    show_as("fork_server", [sys.executable, "-m", "streamflow.runtime.process.fork_server", "-", str(parent)])
    preload(loaded)
    serve(channel, parent, loaded)
