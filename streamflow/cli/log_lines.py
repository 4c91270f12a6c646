"""Lines about what happens in a run: for people, with the time of day or without, or as JSON for a collector."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from streamflow.core.happenings import Level, Told

BULKY = ("segments", "traceback")  # the first is for `streamflow misses --json`; the other has a place of its own

RAISED = "raised"  # the event after it says what was raised, and what is done about it


class Form(Enum):
    """`SHORT` is for who sees a line when it comes; `STAMPED` also for who reads it later."""

    SHORT = "short"
    STAMPED = "stamped"
    JSON = "json"


def line(form: Form, told: Told, event: Mapping[str, Any]) -> str:
    """With its end. `event` as the log has it: `at_ns`, `at`, `event` and fields of its own."""
    if form is Form.JSON:
        return _as_json(told, event)
    stamp = f"{time_of_day(event)} {told.level.name.lower():7} " if form is Form.STAMPED else "streamflow: "
    sentence = f"{stamp}{told.sentence}\n"
    if not told.traceback:
        return sentence
    if form is Form.STAMPED:
        return f"{sentence}{told.traceback}\n"
    return f"{told.traceback}\n" + ("" if event.get("event") == RAISED else sentence)


def _as_json(told: Told, event: Mapping[str, Any]) -> str:
    head = {key: event.get(key) for key in ("at", "at_ns")}
    head |= {"level": told.level.name.lower(), "event": event.get("event"), "sentence": told.sentence}
    rest = {key: value for key, value in event.items() if key not in head and key not in BULKY}
    more = {"traceback": told.traceback} if told.traceback else {}
    return json.dumps(head | rest | more) + "\n"


def time_of_day(event: Mapping[str, Any]) -> str:
    """Here, as logs of other programs say it too."""
    try:
        return datetime.fromisoformat(str(event.get("at"))).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return "?"


def untold(form: Form, kind: str, count: int, now: Mapping[str, Any], level: Level = Level.DEBUG) -> str:
    """That so many events of a kind were not told; `now` has the time."""
    sentence = f"… {count:,} more of `{kind}`, which the log has" if kind else f"… {count:,} lines that nobody read"
    more: dict[str, Any] = {"of": kind} if kind else {}
    return line(form, Told(level, sentence), {**now, "event": "untold", "count": count, **more})
