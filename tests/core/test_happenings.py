"""Every event of a run's log says something, to those whom it concerns."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from streamflow.core.happenings import LEVELS, Level, tell

SOURCE = Path(__file__).resolve().parents[2] / "streamflow" / "runtime"
ANYTHING: dict[str, Any] = {
    "stage": "vad", "stages": ["vad", "log"], "process": "vad", "path": "speech", "rate": "mic_speaks", "port": "x",
    "stream": "mic", "seq": 7, "reason": "stage vad: it hangs", "sentence": "stage vad: took long", "down_ms": 41.4,
    "gap_ms": 250.2, "met": 3, "of": 10, "step": "degrade", "variant": "Small", "late_ms": 4.25, "how": "done",
    "pipeline": "speech", "supervisor": 4711, "priority": "SCHED_FIFO 1", "effects": [{"took_effect": True}, {}],
    "logger": "own",
}  # fmt: skip


def written() -> set[str]:
    """The names of all events that anything in the runtime writes into the log."""
    found = {"silent", "heard", "broken", "escalated", "recovered"}  # names that are reckoned there
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write":
                owner = node.func.value
                is_log = isinstance(owner, ast.Attribute) and owner.attr == "_log"
                if is_log and isinstance(node.args[0], ast.Constant):
                    found.add(str(node.args[0].value))
    return found


def test_every_event_that_is_written_has_a_sentence_of_its_own() -> None:
    assert len(written()) > 15
    for name in written():
        told = tell({"event": name, **ANYTHING})
        assert not told.sentence.startswith(f"{name}: "), name
        assert told.sentence != name


def test_levels_are_by_audience() -> None:
    by_level: dict[Level, set[str]] = {level: set() for level in Level}
    for name in written():
        by_level[tell({"event": name}).level].add(name)
    assert by_level[Level.ERROR] == {"left", "raised", "broken_sum"}
    assert by_level[Level.DEBUG] == {"miss", "realtime", "priority"}
    assert tell({"event": "logged", "level": "error", **ANYTHING}).level is Level.ERROR
    for broken, over in (("restarting", "back"), ("broken", "recovered"), ("silent", "heard")):
        assert {broken, over} <= by_level[Level.WARNING]
    assert LEVELS == ("error", "warning", "info", "debug")


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ("back", "stage vad, log: back at work after 41 ms"),
        ("miss", "deadline speech: mic#7 missed it, 4.2 ms late so far; stage vad: took long"),
        ("restarting", "stage vad: it hangs; starting it again"),
        ("logged", "stage vad: own: stage vad: took long"),
        ("silent", "deadline mic_speaks: nothing was sent to vad.x for 250 ms"),
        ("realtime", "stage vad, log: the machine has answered what it asks for, 1 of 2 as asked"),
    ],
)
def test_a_sentence_names_stage_or_stream(event: str, sentence: str) -> None:
    assert tell({"event": event, **ANYTHING}).sentence == sentence


def test_a_miss_that_was_known_before_its_deadline_is_told_as_given_up() -> None:
    told = tell({"event": "miss", **ANYTHING, "late_ms": -19.4})
    assert told.sentence.startswith("deadline speech: mic#7 missed it, given up 19.4 ms before its deadline; ")


def test_an_event_of_another_version_is_told_by_its_name() -> None:
    assert tell({"event": "moved", "stage": "vad", "to": 3}).sentence == "moved: stage vad"
    assert tell({"event": "back", "stage": "vad"}).sentence == "back: stage vad"
    assert tell({"event": "back", "stages": ["vad"], "down_ms": None}).sentence == "back"


def test_the_users_traceback_comes_along() -> None:
    told = tell({"event": "raised", "sentence": "stage vad: process raised", "traceback": "Traceback\n  ...\n"})
    assert (told.sentence, told.traceback) == ("stage vad: process raised", "Traceback\n  ...")
