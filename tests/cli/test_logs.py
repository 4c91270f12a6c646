"""`streamflow logs` tells what happened in a run, by level, for people and for scripts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streamflow.runtime.inspection import followed_events, older_events
from streamflow.runtime.rundir import RunFolder
from tests.left_behind import LeftBehind


@pytest.fixture
def run(folder) -> LeftBehind:
    run = LeftBehind(folder / "run")
    run.event("started", 0, pipeline="speech", stages=["mic", "vad"], supervisor=4711)
    run.miss(7, 1000)
    run.event("raised", 2000, stage="vad", sentence="stage vad: process raised", traceback="Traceback:\n  line\n")
    run.event("restarting", 2001, processes=["vad"], reason="stage vad: process raised", delay_ms=0)
    run.event("back", 2040, stages=["vad"], process="vad", down_ms=39.0)
    run.event("left", 3000, process="vad", reason="stage vad: failed too often")
    return run


def test_the_life_of_the_run_is_told_with_time_and_level(streamflow, run) -> None:
    ended = streamflow("logs", "run")
    assert (ended.code, ended.err) == (0, "run run was killed\n")
    lines = ended.out.splitlines()
    assert [line[13:] for line in lines if line[2:3] == ":"] == [
        "info    speech: starting mic, vad; the supervisor is process 4711",
        "error   stage vad: process raised",
        "warning stage vad: process raised; starting it again",
        "warning stage vad: back at work after 39 ms",
        "error   stage vad: failed too often; the rest goes on without it",
    ]
    assert lines[2:4] == ["Traceback:", "  line"]


@pytest.mark.parametrize(("level", "count"), [("error", 2), ("warning", 4), ("info", 5), ("debug", 6)])
def test_levels_are_chosen(streamflow, run, level: str, count: int) -> None:
    ended = streamflow("logs", "run", "--json", "--level", level)
    assert len(ended.out.splitlines()) == count


def test_since_counts_from_the_end_of_a_dead_run(streamflow, run) -> None:
    ended = streamflow("logs", "run", "--json", "--since", "0.98")
    assert [json.loads(line)["event"] for line in ended.out.splitlines()] == ["back", "left"]


def test_json_lines_have_time_level_event_sentence_and_fields(streamflow, run) -> None:
    found = [json.loads(line) for line in streamflow("logs", "run", "--json", "--level", "debug").out.splitlines()]
    for event in found:
        assert list(event)[:5] == ["at", "at_ns", "level", "event", "sentence"]
    by_event = {event["event"]: event for event in found}
    assert by_event["raised"]["traceback"] == "Traceback:\n  line"
    assert (by_event["miss"]["stream"], by_event["miss"]["path"], by_event["miss"]["level"]) == (
        "mic", "speech", "debug",
    )  # fmt: skip
    assert by_event["back"]["stages"] == ["vad"]


class Living(RunFolder):
    """A run that is over when it is said."""

    is_over = False

    def is_live(self) -> bool:
        return not self.is_over


def test_who_follows_hears_all_over_a_log_that_is_put_aside(tmp_path: Path) -> None:
    run = LeftBehind(tmp_path / "run")
    folder = Living(run.folder.path)
    run.event("started", 0)

    def torn(text: str) -> None:
        with folder.events.open("a") as file:
            file.write(text)

    script = [
        lambda: run.event("hung", 1),
        lambda: (run.event("back", 2), os.replace(folder.events, older_events(folder)), run.event("left", 3)),
        lambda: torn('{"at_ns": 4, "ev'),
        lambda: run.line('ent": "whole"}'),
        lambda: (run.event("ended", 5), setattr(folder, "is_over", True)),
    ]

    def pause() -> None:
        script.pop(0)()

    heard = [event["event"] for event in followed_events(folder, pause)]
    assert heard == ["started", "hung", "back", "left", "whole", "ended"]


def test_who_follows_a_run_that_is_killed_hears_nothing_twice(tmp_path: Path) -> None:
    """Its log in memory is copied to the disk, and goes."""
    run = LeftBehind(tmp_path / "run")
    folder = Living(run.folder.path)
    run.event("started", 0)
    run.event("hung", 1)

    def moved() -> None:
        text = folder.events.read_text()
        folder.events.unlink()
        folder.events.write_text(text)
        run.event("failed", 2)

    script = [moved, lambda: setattr(folder, "is_over", True)]
    heard = [event["event"] for event in followed_events(folder, lambda: script.pop(0)())]
    assert heard == ["started", "hung", "failed"]
