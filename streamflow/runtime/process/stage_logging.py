"""What nodes log by Python's `logging` reaches standard error with the stage's name, in the run's form and level.

What is WARNING or above becomes an event of the run besides, whatever that level is: `log_relay`.

A pipeline that sets up logging by itself, at import, keeps what it set up. What nodes print is theirs alone. A line is
left out, and counted, when it would have to wait for the reader: the stage would be taken for one that hangs.
"""

from __future__ import annotations

import json
import logging
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from streamflow.runtime.clock import now_ns

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

logging_stage: ContextVar[str] = ContextVar("logging_stage", default="")
"""Whose code runs, as far as it is known: a thread that a node has started by itself does not know it."""


def name_in_logs(stages: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Of all that this process logs. `settings`: `level` as `run --log-level` has it, and `is_json`."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = _Handler(sys.stderr)
    stage = ", ".join(stages)
    handler.setFormatter(_Json(stage) if settings.get("is_json") else _Text(stage))
    level = _LEVELS.get(str(settings.get("level")), logging.WARNING)
    handler.setLevel(level)
    root.addHandler(handler)
    root.setLevel(min(level, logging.WARNING))


@contextmanager
def named_in_logs(stages: Sequence[str], settings: Mapping[str, Any]) -> Iterator[None]:
    """The same for a while, in a process that goes on to something else."""
    root = logging.getLogger()
    level = root.level
    name_in_logs(stages, settings)
    try:
        yield
    finally:
        for handler in [one for one in root.handlers if isinstance(one, _Handler)]:
            root.removeHandler(handler)
            root.setLevel(level)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Of a stream with a descriptor; a pipe with room for a page takes a line without waiting."""

    _left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not self._has_room():
            self._left_out += 1
            return
        if self._left_out:
            count, self._left_out = self._left_out, 0
            told = "… %d lines that nobody read in time"
            super().emit(logging.LogRecord("streamflow", logging.WARNING, "", 0, told, (count,), None))
        super().emit(record)

    def _has_room(self) -> bool:
        try:
            return bool(select.select([], [self.stream.fileno()], [], 0)[1])
        except (OSError, ValueError):
            return True  # it has no descriptor, or one that never waits


class _Text(logging.Formatter):
    def __init__(self, stage: str) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        return f"stage {logging_stage.get() or self._stage}: {super().format(record)}"


class _Json(logging.Formatter):
    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "at_ns": now_ns(),
            "level": "error" if level == "critical" else level,
            "event": "logged",
            "sentence": record.getMessage(),
            "stage": logging_stage.get() or self._stage,
            "logger": record.name,
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)
