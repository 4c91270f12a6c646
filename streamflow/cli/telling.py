"""Tells on standard error what happens in a run, as far as it is asked for, and never more than can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamflow.cli.log_lines import Form, line, untold
from streamflow.cli.outlet import Outlet
from streamflow.core.flood import Flood
from streamflow.core.happenings import LOGGED, Level, Told, tell
from streamflow.runtime.clock import now_ns
from streamflow.runtime.supervision.events import wall_clock

JSON_LIMIT_S = 2.0  # at the end, for who collects lines to read the last ones: a collector that hangs holds nobody up


class Teller:
    """Of one run. Without `tells_answers` only what warns, or is an error, is told."""

    def __init__(self, level: Level, form: Form, *, tells_answers: bool = True) -> None:
        self._level = level
        self._tells_answers = tells_answers
        self.form = form
        self.outlet = Outlet(lambda count: untold(form, "", count, _now(), Level.WARNING))
        self._flood = Flood()

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Something is in the log, this very moment."""
        event = {**_now(), "event": name, **fields}
        told = tell(event)
        if self.wants(told.level):
            self.tick(event["at_ns"])
            if self._flood.admits(name, event["at_ns"]):
                self.outlet.put(line(self.form, told, event))

    def wants(self, level: Level) -> bool:
        return level <= self._level

    def asks_for(self, name: str) -> bool:
        """Whether events of that name are told: what is logged its stage has written by itself."""
        return name != LOGGED and self.wants(tell({"event": name}).level)

    def tick(self, at_ns: int, *, is_last: bool = False) -> None:
        """To be called now and then, also when nothing happens: what was not told is told as a count."""
        for kind, count in self._flood.over(at_ns, is_last=is_last):
            self.outlet.put(untold(self.form, kind, count, _now(), tell({"event": kind}).level))

    def say(self, level: Level, event: str, sentence: str, traceback: str = "", **fields: Any) -> None:
        """Something that is not in the log of the run."""
        if self.wants(level):
            self.outlet.put(line(self.form, Told(level, sentence, traceback), {**_now(), "event": event, **fields}))

    def answer(self, event: str, sentence: str, level: Level = Level.INFO, **fields: Any) -> None:
        """What was asked for, so that it is told whatever the level is."""
        if self._tells_answers or level < Level.INFO:
            self.outlet.put(line(self.form, Told(level, sentence), {**_now(), "event": event, **fields}))

    def close(self) -> None:
        """All is told. People's lines are waited for as any program waits for `less`; a collector's are not."""
        self.tick(0, is_last=True)
        self.outlet.close(JSON_LIMIT_S if self.form is Form.JSON else None)


def _now() -> dict[str, Any]:
    return {"at": wall_clock(), "at_ns": now_ns()}
