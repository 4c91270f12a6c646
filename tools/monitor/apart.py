"""The screen in a session of its own, of which the scheduler takes less care than of any other.

Where Linux groups processes by session (sched_autogroup), a niceness counts within a session alone: the half second of
processor time in which a monitor starts would make a run of another terminal wait, however nice it is. So this process
stays in front on the terminal, as the shell expects, passes on what the terminal has to say, and puts it in order again
should the screen be killed; the screen's is the process that works.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

from streamflow.runtime.process.background import take_short_slices
from streamflow.runtime.process.parent_death import die_with_parent

PASSED_ON = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LEAVE_SCREEN = "\x1b[?1049l\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?2004l\x1b[?25h"
"""Out of the other screen, no mouse, no bracketed paste, a cursor: what a terminal program undoes at its end."""


def run_apart(module: str, arguments: Sequence[str]) -> int:
    """`python -m module arguments` on this terminal; its exit code, as a shell would tell it."""
    take_short_slices()
    terminal = sys.stdin.fileno()
    settings = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(number)

    former = {number: signal.signal(number, pass_on) for number in PASSED_ON}
    try:
        code = process.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        termios.tcsetattr(terminal, termios.TCSADRAIN, settings)
    if code < 0:
        sys.stdout.write(LEAVE_SCREEN)
        sys.stdout.flush()
    return code if code >= 0 else 128 - code
