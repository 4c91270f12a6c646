"""A second Ctrl-C ends an inline run also while user code blocks the loop, which then hears of no signal.

Python runs a signal's handler between two bytecodes of the main thread, and in the midst of calls that wait
(`time.sleep`, reads), so the handler counts, and a thread ends the process if the loop has not done so by
itself soon. What runs inside C code for long without coming back is out of reach: `kill -9` serves there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 1.0  # for the loop, if it runs, to end the run in order: it then closes files and tells its counts
INTERRUPTED = 130  # the exit code after Ctrl-C or SIGTERM, as a shell says it
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def killing_when_stuck(exit_code: int, clear_up: Callable[[], None]) -> Iterator[None]:
    """Wrap the handlers that are installed; a second signal ends the process with `exit_code` after the grace.

    `clear_up` is called in a thread then, so that nothing is left behind.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    killer = threading.Timer(GRACE_S, _end, [exit_code, clear_up])
    killer.daemon = True
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 2:
            killer.start()
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        killer.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(exit_code: int, clear_up: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # whatever state the loop was stuck in, the process ends
        clear_up()
    sys.stdout.flush()
    os._exit(exit_code)
