"""`run --top`: the run in a process of its own, and the monitor on this terminal until the run has ended.

What the run would have written on the terminal comes when the monitor has left it: the table, what went wrong, and
results that were to go to standard output. To leave the monitor is to end the run, as Ctrl-C is without it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import IO

import click

from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime.process.parent_death import die_with_parent
from streamflow.runtime.rundir import RunFolder, live_runs

LOOK_S = 0.05
TOP = "--top"


def run_watched(arguments: Sequence[str], context: click.Context) -> int:
    """`streamflow ARGUMENTS` without --top, watched; its exit code. Raises UsageError where nothing can be shown."""
    commands = context.find_root().command
    top = commands.get_command(context, "top") if isinstance(commands, click.Group) else None
    if top is None or importlib.util.find_spec("textual") is None:
        raise UsageError(TOP, "textual is not installed", hint="pip install 'streamflow[top]'")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(TOP, "this is no terminal", hint="without it, streamflow top shows the run on another one")
    with tempfile.TemporaryFile() as results, tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamflow", *(one for one in arguments if one != TOP)],
            stdin=subprocess.DEVNULL,
            stdout=results,
            stderr=told,
            process_group=0,  # Ctrl-C is this process's, to pass on
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGINT),  # drains, and leaves nothing behind
        )
        try:
            folder = _folder_of(process)
            if folder is not None:
                context.invoke(top, run=str(folder.path), until_end=True)
        except StreamflowError:
            pass  # it has gone already
        finally:
            code = _ended(process)
            _show(results, sys.stdout.buffer)
            _show(told, sys.stderr.buffer)
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


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Drain it, and wait for that; Ctrl-C kills it."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        else:
            return code if code >= 0 else 128 - code


def _show(file: IO[bytes], stream: IO[bytes]) -> None:
    file.seek(0)
    with suppress(BrokenPipeError):
        shutil.copyfileobj(file, stream)
        stream.flush()
