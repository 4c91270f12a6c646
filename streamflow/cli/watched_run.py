"""`run --top`: the run in a process of its own, and the monitor on this terminal until the run has ended.

What the run writes goes to a terminal of its own, and from there to this one once the monitor has left it: `q` leaves
the run as it would be without --top, with its line of progress and at last its table; Ctrl-C drains it, on the screen
and after. A screen that dies takes nothing along.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import click

from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime.process.parent_death import die_with_parent
from streamflow.runtime.rundir import RunFolder, live_runs

LOOK_S = 0.05
TOP = "--top"
PIECE_SIZE = 1 << 16  # bytes; a terminal gives 4 kB at most
ENDING = (128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP)
"""Codes of a screen that somebody ended for the run to end, with Ctrl-C or a signal."""
LEFT = "the run goes on; Ctrl-C drains and ends it\n"


def run_watched(arguments: Sequence[str], context: click.Context) -> int:
    """`streamflow ARGUMENTS` without --top, watched; its exit code. Raises UsageError where nothing can be shown."""
    commands = context.find_root().command
    top = commands.get_command(context, "top") if isinstance(commands, click.Group) else None
    if top is None or importlib.util.find_spec("textual") is None:
        raise UsageError(TOP, "textual is not installed", hint="pip install 'streamflow[top]'")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(TOP, "this is no terminal", hint="without it, streamflow top shows the run on another one")
    output = _Output()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamflow", *(one for one in arguments if one != TOP)],
            stdin=subprocess.DEVNULL,
            stdout=output.entrance,
            stderr=output.entrance if sys.stderr.isatty() else None,
            process_group=0,  # Ctrl-C is this process's, to pass on
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGINT),  # drains, and leaves nothing behind
        )
        output.begin()
        is_to_end = False
        told = ""
        try:
            folder = _folder_of(process)
            if folder is not None:
                is_to_end = context.invoke(top, run=str(folder.path), until_end=True, is_own=True) in ENDING
                told = LEFT if folder.is_live() and not is_to_end else ""
        except StreamflowError:
            pass  # it has gone already
        except BaseException:
            is_to_end = True
            raise
        finally:
            output.release(told)
            code = _ended(process, is_to_end=is_to_end)
    finally:
        output.close()
    return code


def _folder_of(process: subprocess.Popen[bytes]) -> RunFolder | None:
    """Where the run is; None where it has ended before it was anywhere."""
    while process.poll() is None:
        for folder in live_runs():
            with suppress(StreamflowError):
                if folder.description().get("supervisor") == process.pid:
                    return folder
        time.sleep(LOOK_S)
    return None


def _ended(process: subprocess.Popen[bytes], *, is_to_end: bool) -> int:
    """Its code at its end; drained now if it `is_to_end`, else on Ctrl-C, which kills if it comes again."""
    if is_to_end:
        _interrupt(process)
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _interrupt(process)
        else:
            return code if code >= 0 else 128 - code


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


class _Output:
    """A terminal for the run to write to; what comes is kept until `release`, and passed on from then."""

    def __init__(self) -> None:
        self._exit, self.entrance = os.openpty()
        settings = termios.tcgetattr(self.entrance)
        settings[1] &= ~termios.OPOST  # lines end as they are written: the terminal that they come to does the rest
        termios.tcsetattr(self.entrance, termios.TCSANOW, settings)
        termios.tcsetwinsize(self.entrance, termios.tcgetwinsize(sys.stdout))
        self._kept = tempfile.TemporaryFile()  # noqa: SIM115, closed in `close`
        self._is_kept, self._is_closed = True, False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def begin(self) -> None:
        """After the run was started: a thread is not copied."""
        self._thread.start()

    def release(self, told: str) -> None:
        """The terminal is free; `told`: what is to be said first."""
        termios.tcsetwinsize(self.entrance, termios.tcgetwinsize(sys.stdout))
        with self._lock, suppress(OSError):
            self._is_kept = False
            self._kept.seek(0)
            shutil.copyfileobj(self._kept, sys.stdout.buffer)
            sys.stdout.buffer.write(told.encode())
            sys.stdout.buffer.flush()

    def close(self) -> None:
        """Once the run has ended, and all that it wrote is told."""
        self._is_closed = True
        if self._thread.is_alive():
            self._thread.join()
        os.close(self.entrance)
        os.close(self._exit)
        self._kept.close()

    def _run(self) -> None:
        while True:
            is_last = self._is_closed  # before the look, so that what was written until then is read
            while select.select([self._exit], [], [], 0 if is_last else LOOK_S)[0]:
                self._take(os.read(self._exit, PIECE_SIZE))
            if is_last:
                return

    def _take(self, piece: bytes) -> None:
        with self._lock, suppress(OSError):  # that nobody reads any more does not hold the run up
            if self._is_kept:
                self._kept.write(piece)
            else:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
