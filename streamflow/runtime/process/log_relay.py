"""What nodes log at WARNING or above is told to the supervisor too, and so becomes an event of the run: `logged`.

Whoever logs, in whatever thread, never waits: a line goes into a list, and the loop sends it when it comes round, and
before whatever the stage tells next. Of a stage that logs without end so many are told in a second as `core.flood`
has it, of each level; the others are counted, and the count is told. *Not taken*: to send from the handler; sockets
are of one thread.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import trio

from streamflow.core.flood import PERIOD_NS, Flood
from streamflow.core.timebase import seconds
from streamflow.runtime.clock import Clock
from streamflow.runtime.process.control import Channel, Telegram
from streamflow.runtime.process.stage_logging import logging_stage

SENTENCE_LIMIT = 2_000  # characters; what is longer is a dump, which standard error has
TRACEBACK_LIMIT = 8_000  # characters; its end says what was raised
WAITING_MAX = 100  # lines, while user code does not let the loop go round


class LogRelay:
    """The worker's channel to the supervisor, on which lines of the log go along."""

    def __init__(self, channel: Channel, stages: Sequence[str], clock: Clock) -> None:
        self._channel = channel
        self._stages = tuple(stages)
        self._is_over = False
        self._found_no_room = 0
        self._clock = clock
        self._flood = Flood()
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._token = trio.lowlevel.current_trio_token()
        self._pid = os.getpid()
        self._hearing = trio.CancelScope()
        self._look_again_s = math.inf

    @contextmanager
    def listening(self) -> Iterator[None]:
        """To all that this process logs."""
        handler = _Handler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            self._send(is_last=True)
            self._is_over = True

    def tell(self, telegram: Telegram) -> None:
        self._send()
        self._channel.tell(telegram)

    async def hear(self) -> Telegram:
        while True:
            with trio.CancelScope(deadline=self._look_again_s) as self._hearing:
                return await self._channel.hear()
            self._send()  # what was left out is counted, also where nothing comes after it

    def take(self, line: dict[str, Any]) -> None:
        """From any thread."""
        if os.getpid() != self._pid:
            return  # a process that the node has forked: its words are on standard error
        with self._lock:
            now_ns = self._clock.now_ns()
            self._count_untold(now_ns)
            if self._flood.admits(line["level"], now_ns):
                if len(self._waiting) < WAITING_MAX:
                    self._waiting.append(line)
                else:
                    self._found_no_room += 1
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._send, idempotent=True)

    def _send(self, *, is_last: bool = False) -> None:
        if self._is_over:
            return
        with self._lock:
            self._count_untold(self._clock.now_ns(), is_last=is_last)
            lines = list(self._waiting)
            self._waiting.clear()
            if self._found_no_room:
                lines.append(self._untold("warning", self._found_no_room))
                self._found_no_room = 0
            is_behind = self._flood.is_behind
        for line in lines:
            self._channel.tell({"is": "logged", **line})
        self._look_again_s = trio.current_time() + seconds(PERIOD_NS) if is_behind else math.inf
        self._hearing.deadline = min(self._hearing.deadline, self._look_again_s)

    def _count_untold(self, now_ns: int, *, is_last: bool = False) -> None:
        for level, count in self._flood.over(now_ns, is_last=is_last):
            self._waiting.append(self._untold(level, count))

    def _untold(self, level: str, count: int) -> dict[str, Any]:
        sentence = f"… {count:,} more within a second are on standard error only"
        return _line(", ".join(self._stages), level, "streamflow", sentence)

    def stage_now(self) -> str | None:
        """Whose code runs, those of this process where it is not known; None where it is another's."""
        stage = logging_stage.get()
        return (stage if stage in self._stages else None) if stage else ", ".join(self._stages)


class _Handler(logging.Handler):
    def __init__(self, relay: LogRelay) -> None:
        super().__init__(logging.WARNING)
        self._relay = relay
        self._traceback_of = logging.Formatter().formatException

    def emit(self, record: logging.LogRecord) -> None:
        stage = self._relay.stage_now()
        if stage is None:
            return
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            sentence = record.getMessage()
        except Exception:  # arguments that do not fit: the handler of standard error says so
            sentence = str(record.msg)
        line = _line(stage, level, record.name, sentence)
        if record.exc_info:
            line["traceback"] = self._traceback_of(record.exc_info)[-TRACEBACK_LIMIT:]
        self._relay.take(line)


def _line(stage: str, level: str, logger: str, sentence: str) -> dict[str, Any]:
    if len(sentence) > SENTENCE_LIMIT:
        sentence = f"{sentence[:SENTENCE_LIMIT]} …"
    return {"stage": stage, "level": level, "logger": logger, "sentence": sentence}
