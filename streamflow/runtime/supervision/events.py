"""The log of a run: what happened, a line of JSON each, for people, tools, and whoever looks after a crash.

Each line is flushed when it is written, so that a killed supervisor has told everything up to its end.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamflow.core.happenings import LOGGED
from streamflow.core.timebase import s

MISSES_KEPT, EVENTS_KEPT, LOGGED_KEPT = 30, 100, 50  # the latest, for the report: who wants all has the log
LOG_SIZE_LIMIT = 8 * 1024 * 1024  # bytes; then the file is put aside, and one older file is kept

Listener = Callable[[str, dict[str, Any]], None]


class Latest:
    """What happened last, the oldest first. Misses and what nodes log displace no other event."""

    def __init__(self) -> None:
        self._misses: deque[dict[str, Any]] = deque(maxlen=MISSES_KEPT)
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._logged: deque[dict[str, Any]] = deque(maxlen=LOGGED_KEPT)

    def take(self, line: dict[str, Any]) -> None:
        if line["event"] == "miss":
            self._misses.append({key: value for key, value in line.items() if key != "segments"})
        else:
            (self._logged if line["event"] == LOGGED else self._events).append(line)

    @property
    def misses(self) -> list[dict[str, Any]]:
        return list(self._misses)

    @property
    def events(self) -> list[dict[str, Any]]:
        return sorted([*self._events, *self._logged], key=lambda line: int(line["at_ns"]))


class EventLog:
    """Written by the supervisor alone; `listeners` hear every event as it is written."""

    def __init__(self, path: Path | None, now_ns: Callable[[], int], wall_ns: Callable[[], int] = time.time_ns) -> None:
        """Without a path nobody but the listeners hears of it."""
        self._path = path
        self._now_ns = now_ns
        self._wall_ns = wall_ns
        self._file = None if path is None else path.open("ab", buffering=0)
        self._size = 0
        self.listeners: list[Listener] = []
        self.latest = Latest()

    def write(self, event: str, **fields: Any) -> None:
        line = {"at_ns": self._now_ns(), "at": self.wall_clock(), "event": event, **fields}
        if self._file is not None:
            self._size += self._file.write(json.dumps(line).encode() + b"\n")
            if self._size > LOG_SIZE_LIMIT:
                self._put_aside()
        self.latest.take(line)
        for listener in self.listeners:
            listener(event, fields)

    def wall_clock(self) -> str:
        """Now, as the log's lines say it."""
        return wall_clock(self._wall_ns())

    def _put_aside(self) -> None:
        assert self._path is not None
        assert self._file is not None
        self._file.close()
        os.replace(self._path, self._path.with_name("events.1.jsonl"))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def wall_clock(wall_ns: int | None = None) -> str:
    """An instant since the epoch, by default now, for people: ISO 8601 with milliseconds, in UTC."""
    instant_ns = time.time_ns() if wall_ns is None else wall_ns
    return datetime.fromtimestamp(instant_ns / s, UTC).isoformat(timespec="milliseconds")
