"""What an event of a run's log says to people, and to whom: a sentence that names stage or stream, and a level.

Levels are by what the reader is to do. `error`: data or the run are in danger, somebody must act. `warning`: a promise
is broken, something was started again or went silent; and that it is over, for who was told of the one waits for the
other. `info`: the life of the run. `debug`: single data, of which there may be thousands a second, and settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final


class Level(IntEnum):
    """The less, the more urgent."""

    ERROR = 0
    WARNING = 1
    INFO = 2
    DEBUG = 3


LEVELS: Final = tuple(level.name.lower() for level in Level)


@dataclass(frozen=True, slots=True)
class Told:
    """`traceback`: of user code, where an event has one."""

    level: Level
    sentence: str
    traceback: str = ""


LOGGED: Final = "logged"
"""A line that a node has logged at WARNING or above. Its stage has written it on standard error, too."""

_TOLD: Final = {
    "left": (Level.ERROR, "{reason}; the rest goes on without it"),
    "raised": (Level.ERROR, "{sentence}"),
    "broken_sum": (Level.ERROR, "{sentence}; a fault of streamflow's own"),
    "logged": (Level.WARNING, "stage {stage}: {logger}: {sentence}"),
    "restarting": (Level.WARNING, "{reason}; starting it again"),
    "back": (Level.WARNING, "stage {names}: back at work after {down_ms:.0f} ms"),
    "broken": (Level.WARNING, "deadline {path}: its contract is broken, {met} of the last {of} on time"),
    "escalated": (
        Level.WARNING,
        "deadline {path}: its contract is still broken, {met} of the last {of} on time; now: {step}",
    ),
    "recovered": (Level.WARNING, "deadline {path}: its contract holds again"),
    "silent": (Level.WARNING, "deadline {rate}: nothing was sent to {stage}.{port} for {gap_ms:.0f} ms"),
    "heard": (Level.WARNING, "deadline {rate}: {stage}.{port} is heard again, after {gap_ms:.0f} ms"),
    "refused": (Level.WARNING, "{sentence}"),
    "states": (Level.WARNING, "{sentence}"),
    "device": (Level.WARNING, "{sentence}"),
    "variant": (Level.WARNING, "stage {stage}: works with {variant} from now on"),
    "started": (Level.INFO, "{pipeline}: starting {names}; the supervisor is process {supervisor}"),
    "hung": (Level.INFO, "stage {stage}: {reason}"),
    "failed": (Level.INFO, "stage {names}: its process has ended"),
    "stopped": (Level.INFO, "process {process}: told to stop"),
    "ended": (Level.INFO, "the run has ended: {how}"),
    "miss": (Level.DEBUG, "deadline {path}: {stream}#{seq} missed it, {late}; {sentence}"),
    "realtime": (Level.DEBUG, "stage {names}: the machine has answered what it asks for, {count}"),
    "priority": (Level.DEBUG, "the supervisor's priority: {priority}"),
}


def tell(event: Mapping[str, Any]) -> Told:
    """Of an event as the log has it. One that is unknown, or lacks a field, as in a log of another version, is told
    by its name and what it has."""
    name = str(event.get("event", "?"))
    level, template = _TOLD.get(name, (Level.INFO, ""))
    if name == LOGGED and event.get("level") == Level.ERROR.name.lower():
        level = Level.ERROR  # whoever logs says it
    traceback = str(event.get("traceback", "")).rstrip()
    try:
        sentence = template.format(names=_names(event), count=_answers(event), late=how_late(event), **event)
    except (LookupError, TypeError, ValueError):
        sentence = ""
    return Told(level, sentence or _bare(name, event), traceback)


def how_late(miss: Mapping[str, Any]) -> str:
    """As in `4.2 ms late so far`; what could not be in time any more is given up, and known to be missed, before."""
    late_ms = miss.get("late_ms")
    if not isinstance(late_ms, int | float):
        return "late"
    return f"{late_ms:.1f} ms late so far" if late_ms >= 0 else f"given up {-late_ms:.1f} ms before its deadline"


def _names(event: Mapping[str, Any]) -> str:
    return ", ".join(map(str, event.get("stages") or ()))


def _answers(event: Mapping[str, Any]) -> str:
    effects = event.get("effects") or ()
    return f"{sum(bool(effect.get('took_effect')) for effect in effects)} of {len(effects)} as asked"


def _bare(name: str, event: Mapping[str, Any]) -> str:
    parts = [f"{key} {value}" for key, value in event.items() if key in SUBJECTS and value]
    return f"{name}: {', '.join(parts)}" if parts else name


SUBJECTS: Final = ("stage", "process", "path", "rate", "stream", "seq", "reason")
