"""In a real run the supervisor wakes before its stages, and no stage has more or less than it was given."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from streamflow.runtime.process.priority import FIFO_PRIORITY, NONE, obtainable
from tests.end_to_end.project import Command, Project, eventually

LINE = """
def build() -> Pipeline:
    p = Pipeline("line")
    source = p.add("source", Numbers(2000))
    middle = p.add("middle", Pass())
    p.connect(source, middle)
    p.connect(middle, p.add("sink", Keep("kept")))
    return p
"""
STAGES = ("source", "middle", "sink")
STREAMFLOW = (sys.executable, "-m", "streamflow")


def scheduling(pid: int) -> tuple[int, int]:
    """Policy and nice of a process's main thread, as proc(5) has them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[38]), int(fields[16])


def started(project: Project, *options: object, nice: int = 0) -> Command:
    """A run that has got so far that its data flow."""
    program = ("nice", "-n", str(nice), *STREAMFLOW) if nice else STREAMFLOW
    command = project.start("run", project.pipeline(LINE), "--report", "report.json", *options, program=program)
    eventually(lambda: any(event["event"] == "priority" for event in command.events()))
    return command


def told(project: Project) -> str:
    report = json.loads((project.folder / "report.json").read_text())
    priority: str = report["supervisor"]["priority"]
    return priority


@pytest.mark.skipif(obtainable() != f"SCHED_FIFO {FIFO_PRIORITY}", reason="this user may not have real-time priority")
@pytest.mark.parametrize("launcher", ["local", "spawn"])
def test_the_supervisor_has_real_time_priority_and_all_that_it_starts_has_its_own(
    project: Project, launcher: str
) -> None:
    command = started(project, "--launcher", launcher, nice=5)
    assert scheduling(command.process.pid)[0] == os.SCHED_FIFO
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 5
    victim = command.stage("middle")
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in command.processes() and command.stage("middle"))
    found = {name: scheduling(command.stage(name)) for name in STAGES}
    assert found == dict.fromkeys(STAGES, (os.SCHED_OTHER, nice))
    others = [pid for pid in command.processes() if pid != command.process.pid]
    assert {scheduling(pid) for pid in others} == {(os.SCHED_OTHER, nice)}
    assert command.wait().code == 0
    assert told(project) == f"SCHED_FIFO {FIFO_PRIORITY}"


def test_a_run_that_is_not_to_be_raised_stays_as_it_is(project: Project) -> None:
    command = started(project, "--priority", "none")
    assert scheduling(command.process.pid) == (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0))
    assert command.wait().code == 0
    assert told(project) == NONE


def test_an_inline_run_is_not_raised_for_its_stages_would_be_too(project: Project) -> None:
    command = started(project, "--inline")
    assert scheduling(command.process.pid) == (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0))
    assert command.wait().code == 0
    assert told(project) == NONE
