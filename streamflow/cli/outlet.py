"""Standard error for whoever must not wait for its reader: a thread writes, and what it cannot keep up with is counted.

A pipe that nobody reads, or a terminal that was stopped, blocks whoever writes to it; the supervisor would then see no
miss and restart nothing. Alternative not taken: to make the descriptor non-blocking, which it would then be for every
process that shares it, the shell included.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TextIO

PIECES_MAX = 1000  # lines that wait to be written; a reader that is so far behind reads no more


class Outlet:
    """Writes as it is told to, in this order; at once until `start`, and by a thread from then on."""

    def __init__(self, untold: Callable[[int], str], stream: TextIO | None = None) -> None:
        """`untold`: the line that says how many pieces were left out, in the form of the others. `stream`: in place of
        standard error."""
        self._untold = untold
        self._stream = stream or sys.stderr
        self._pieces: SimpleQueue[str | None] = SimpleQueue()
        self._left_out = 0
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on nobody waits for the reader. To be called after this process was copied: a thread is not."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standard error", daemon=True)
            self._thread.start()

    def put(self, text: str, *, is_needed: bool = True) -> None:
        """Something that is not `is_needed`, since more of its kind comes, is left out when others wait."""
        if self._thread is None:
            self._write(text)
        elif self._pieces.qsize() < (PIECES_MAX if is_needed else 1):
            self._pieces.put(text)
        elif is_needed:
            self._left_out += 1

    def close(self, limit_s: float | None = None) -> bool:
        """Wait until all is written, or so long at most; whether it was. What comes then is written at once."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._pieces.put(None)
        thread.join(limit_s)
        self._is_closed = thread.is_alive()
        return not self._is_closed

    def _run(self) -> None:
        while (text := self._pieces.get()) is not None:
            self._write(text)
            if self._left_out and self._pieces.empty():
                self._tell_left_out()
        if self._left_out:
            self._tell_left_out()

    def _tell_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        self._write(self._untold(count))

    def _write(self, text: str) -> None:
        """Whatever becomes of the reader: that it went away is no reason to end a run."""
        if self._is_closed:
            return
        try:
            descriptor = self._stream.fileno()
        except (io.UnsupportedOperation, ValueError, AttributeError):
            self._stream.write(text)
            self._stream.flush()
            return
        rest = text.encode(errors="backslashreplace")
        try:
            self._stream.flush()
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            self._is_closed = True
