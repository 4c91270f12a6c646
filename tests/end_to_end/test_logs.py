"""What a real run tells on standard error: lines for a collector, by level, with stage names, and to nobody at all."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import pytest

from tests.end_to_end.project import HARD_LIMIT_S, Project

TROUBLE = """
    import logging

    class Twice(Pass):
        def process(self, message):
            if message.seq == 20:
                logging.getLogger("own").warning("about to %s", "raise")
                logging.getLogger("own").info("not so loud")
                raise ValueError("no luck")
            return message.array

    def build():
        p = Pipeline("trouble")
        twice = p.add("twice", Twice())
        p.connect(p.add("numbers", Numbers(count=600)).number, twice)
        p.connect(twice, p.add("keep", Keep("kept")))
        return p
"""
LATE = """
    def build():
        p = Pipeline("late")
        numbers, keep = p.add("numbers", Numbers(count=1000)), p.add("keep", Keep("kept"))
        p.connect(numbers.number, keep)
        p.deadline("at_once", numbers, keep, within=10_000)
        return p
"""


def lines(text: str) -> list[dict[str, Any]]:
    """Each of them JSON, and nothing else."""
    return [json.loads(line) for line in text.splitlines()]


def full_pipe() -> tuple[int, int, int]:
    """One into which no byte more goes: its reader, its writer, and how many are in it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    count = 0
    try:
        while True:
            count += os.write(writer, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer, count


def test_for_a_collector_every_line_is_json_and_there_is_no_table(project: Project) -> None:
    ended = project.run(project.pipeline(TROUBLE), "--log-json", "--log-level", "info")
    assert ended.code == 0
    found = lines(ended.stderr)
    for one in found:
        assert one["at"].endswith("+00:00")
        assert {"at_ns", "level", "event", "sentence"} <= one.keys()
    events = [one["event"] for one in found]
    assert events[0] == "started"
    assert events[-1] == "ended"
    by_event = {one["event"]: one for one in found}
    assert by_event["raised"]["level"] == "error"
    assert by_event["raised"]["stage"] == "twice"
    assert by_event["raised"]["traceback"].endswith("ValueError: no luck")
    assert "pipelines/probe.py" in by_event["raised"]["traceback"]
    assert by_event["restarting"]["sentence"] == "stage twice: process raised ValueError: no luck; starting it again"
    assert by_event["back"]["stages"] == ["twice"]
    logged = [(one["level"], one["stage"], one["logger"], one["sentence"]) for one in found if one["event"] == "logged"]
    assert logged == [("warning", "twice", "own", "about to raise"), ("info", "twice", "own", "not so loud")]


def test_by_default_people_are_told_what_breaks_and_comes_back_and_who_logs(project: Project) -> None:
    ended = project.run(project.pipeline(TROUBLE))
    assert ended.code == 0
    raised, back = ended.sentences
    assert raised == "stage twice: process raised ValueError: no luck; starting it again"
    assert back.startswith("stage twice: back at work after ")
    assert "stage twice: WARNING own: about to raise\n" in ended.stderr
    assert "not so loud" not in ended.stderr
    assert ended.stderr.count("Traceback") == 1
    assert "every datum accounted for" in ended.stderr


def test_a_run_that_fails_tells_a_collector_why(project: Project) -> None:
    ended = project.run(project.pipeline(TROUBLE), "--log-json", "--log-level", "error", "--no-restart")
    assert ended.code == 1
    failure = lines(ended.stderr)[-1]
    assert (failure["level"], failure["event"], failure["subject"]) == ("error", "failure", "twice")
    assert failure["sentence"] == "stage twice: process raised ValueError: no luck"
    assert failure["traceback"].endswith("ValueError: no luck")


def test_a_run_that_cannot_begin_tells_a_collector_why(project: Project) -> None:
    ended = project.run(project.pipeline(TROUBLE), "--log-json", "--set", "x=1")
    assert ended.code == 2
    (failure,) = lines(ended.stderr)
    assert failure["sentence"].startswith("--set x: ")


def test_of_a_storm_of_misses_some_are_told_and_all_are_counted(project: Project) -> None:
    report = project.folder / "report.json"
    ended = project.run(project.pipeline(LATE), "--log-json", "--log-level", "debug", "--report", report)
    missed = json.loads(report.read_text())["paths"]["at_once"]["missed"]
    found = lines(ended.stderr)
    told = [one for one in found if one["event"] == "miss"]
    untold = sum(one["count"] for one in found if one["event"] == "untold" and one["of"] == "miss")
    assert missed > 500
    assert 20 <= len(told) < missed / 4
    assert len(told) + untold == missed
    assert told[0]["sentence"].startswith("deadline at_once: numbers#0 missed it, ")


def test_a_run_whose_standard_error_nobody_reads_goes_on_and_ends(project: Project) -> None:
    reader, writer, _ = full_pipe()
    try:
        command = project.start(
            "run", project.pipeline(LATE), "--log-json", "--log-level", "debug", "--duration", 0.5, stderr=writer
        )
        assert command.wait().code == 0  # of lines that may wait to be written there is no end
    finally:
        os.close(reader)
        os.close(writer)


def test_people_who_read_late_still_get_the_table(project: Project) -> None:
    reader, writer, filled = full_pipe()
    report = project.folder / "report.json"
    command = project.start("run", project.pipeline(TROUBLE), "--report", report, stderr=writer)
    os.close(writer)
    end = time.monotonic() + HARD_LIMIT_S
    while not report.exists():  # all is over but for what it has to say
        assert time.monotonic() < end
        time.sleep(0.02)
    with pytest.raises(subprocess.TimeoutExpired):
        command.process.wait(0.1)
    with os.fdopen(reader, "rb") as file:
        text = file.read()[filled:].decode()
    assert command.process.wait(HARD_LIMIT_S) == 0
    assert "stage twice: back at work after" in text
    assert "every datum accounted for" in text


TALKER = """
    import logging

    class Talk(Pass):
        def process(self, message):
            if message.seq == 3:
                threading.Thread(target=self.talk).start()
                logging.getLogger("own").error("worse", exc_info=ValueError("no luck"))
            return message.array

        def talk(self):
            for number in range(500):
                logging.getLogger("own").warning("line %d", number)

    def build():
        p = Pipeline("talker")
        talk = p.add("talk", Talk())
        p.connect(p.add("numbers", Numbers(count=300)).number, talk)
        p.connect(talk, p.add("keep", Keep("kept")))
        return p
"""


@pytest.mark.parametrize("inline", [[], ["--inline"]])
def test_what_a_node_logs_is_in_the_log_of_the_run_and_a_flood_of_it_is_counted(
    project: Project, inline: list[str]
) -> None:
    report, kept = project.folder / "report.json", project.folder / "run"
    ended = project.run(
        project.pipeline(TALKER), "--report", report, "--keep", kept, "--log-level", "error", "--quiet", *inline
    )
    assert ended.code == 0
    assert ended.stderr.count("worse") == 1  # once, by its stage
    assert "line 7" not in ended.stderr  # which nobody asked for there
    logged = [one for one in json.loads(report.read_text())["events"] if one["event"] == "logged"]
    (worse,) = [one for one in logged if one["sentence"] == "worse"]
    assert (worse["stage"], worse["level"], worse["logger"]) == ("talk", "error", "own")
    assert worse["traceback"].endswith("ValueError: no luck")
    lines = [one for one in logged if one["sentence"].startswith("line ")]
    untold = sum(int(one["sentence"].split()[1]) for one in logged if one["sentence"].startswith("…"))
    assert 10 <= len(lines) < 50
    assert len(lines) + untold + 1 == 501
    told = project.start("logs", kept, "--level", "error").wait().stdout
    assert "error   stage talk: own: worse\n" in told


def test_what_a_stage_logs_comes_before_what_it_does_next(project: Project) -> None:
    report = project.folder / "report.json"
    assert project.run(project.pipeline(TROUBLE), "--report", report, "--quiet").code == 0
    happened = [one["event"] for one in json.loads(report.read_text())["events"]]
    assert happened.index("logged") == happened.index("raised") - 1
