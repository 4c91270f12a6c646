"""The log of a run, read on from where it was read to: its latest misses and events, and what they say of stages.

A file that takes the log's place may be the next part of it, or a copy: what a killed run wrote in memory is saved to
the disk. It is a copy if it begins with the same line, and is read on from the same place.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from streamflow.runtime.rundir import RunFolder
from tools.monitor.snapshot import Told

MISS_LIMIT = 500
EVENT_LIMIT = 500
BACKLOG_SIZE = 512 * 1024  # bytes of the log that are read when the monitor is attached
LIFE_EVENTS = ("restarting", "failed", "left", "back", "stopped")


class Log:
    """Of one run; what is open stays readable when the folder goes."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._first = b""
        """The first line of the file that is read, as far as it was written when it was opened."""
        self._rest = b""
        self.misses: deque[Told] = deque(maxlen=MISS_LIMIT)
        self.events: deque[Told] = deque(maxlen=EVENT_LIMIT)
        self.last_of_process: dict[str, str] = {}
        self.hung: dict[str, tuple[int, str]] = {}
        """Stages that were found to hang: when, and why."""
        self.ending = ""

    def read(self) -> bool:
        """Whether there was anything new."""
        is_new = False
        for line in self._lines():
            with suppress(ValueError, AttributeError, TypeError):
                self._take(json.loads(line))
                is_new = True
        return is_new

    def _lines(self) -> Iterator[bytes]:
        file = self._file
        if file is None:
            file = self._open()
            if file is None:
                return
        yield from self._new_lines(file)
        if self._was_put_aside(file):
            yield from self._new_lines(file)
            place, first = file.tell(), self._first
            file.close()
            self._file = self._open()
            if self._file is None:
                return
            if first and self._first.startswith(first):
                self._file.seek(place)
            else:
                self._rest = b""
            yield from self._lines()

    def _new_lines(self, file: IO[bytes]) -> list[bytes]:
        *whole, self._rest = (self._rest + file.read()).split(b"\n")
        return whole

    def _open(self) -> IO[bytes] | None:
        try:
            self._file = self._folder.events.open("rb")
        except OSError:
            return None
        self._first = self._file.readline()
        self._file.seek(0)
        size = os.fstat(self._file.fileno()).st_size
        if size > BACKLOG_SIZE and not self.events and not self.misses:
            self._file.seek(size - BACKLOG_SIZE)
            self._file.readline()
        return self._file

    def _was_put_aside(self, file: IO[bytes]) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._folder.events.stat())
        except OSError:
            return False  # the folder has gone; what is open has all of it

    def _take(self, event: Told) -> None:
        what = event["event"]
        if what == "miss":
            self.misses.appendleft(event)
            return
        self.events.appendleft(event)
        if what in LIFE_EVENTS:
            for process in event.get("processes") or [event.get("process", "")]:
                self.last_of_process[process] = what
        elif what == "hung":
            self.hung[str(event.get("stage"))] = int(event["at_ns"]), str(event.get("reason", ""))
        elif what == "ended":
            self.ending = str(event.get("how", "ended"))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
