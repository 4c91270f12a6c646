"""In a real run a stage gets of the machine what it asked for, in every life, and what it did not get is told."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from streamflow.runtime.process.priority import FIFO_PRIORITY, obtainable
from tests.end_to_end.project import Command, Project, eventually

CPU = max(os.sched_getaffinity(0))
LINE = f"""
from streamflow import RealTime, us

def build() -> Pipeline:
    p = Pipeline("line")
    source = p.add("source", Numbers(1500))
    middle = p.add("middle", Pass(), realtime=RealTime(
        cpus={{{CPU}}}, priority=7, collects="in_slack", switch_interval=500 * us
    ))
    p.connect(source, middle)
    p.connect(middle, p.add("sink", Keep("kept")))
    return p
"""
# Whoever runs this may not have real-time priority, and root is as anybody in that.
WITHOUT_THE_RIGHT = """
import ctypes, os, resource, sys
CAP_SYS_NICE, PR_CAPBSET_DROP = 23, 24
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0):
    sys.exit("not dropped")
os.execv(sys.executable, [sys.executable, "-m", "streamflow", *sys.argv[1:]])
"""
NO_RIGHT = (sys.executable, "-c", WITHOUT_THE_RIGHT)
needs_real_time = pytest.mark.skipif(
    obtainable() != f"SCHED_FIFO {FIFO_PRIORITY}", reason="this user may not have real-time priority"
)


def status(pid: int, field: str) -> str:
    """Of a process, as proc(5) has it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def scheduling(pid: int) -> tuple[int, int]:
    """Policy and real-time priority of a process's main thread, as proc(5) has them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[38]), int(fields[37])


def events(command: Command, name: str) -> list[dict[str, Any]]:
    return [event for event in command.events() if event["event"] == name]


def effects(report: Path, stage: str) -> dict[str, dict[str, Any]]:
    told = json.loads(report.read_text())["stages"][stage]["realtime"]
    return {effect["knob"]: effect for effect in told}


@needs_real_time
@pytest.mark.parametrize("launcher", ["local", "spawn"])
def test_a_stage_has_what_it_asked_for_in_every_life_and_nobody_else_has_it(project: Project, launcher: str) -> None:
    command = project.start("run", project.pipeline(LINE), "--report", "report.json", "--launcher", launcher)
    eventually(lambda: events(command, "realtime"))
    everywhere = status(os.getpid(), "Cpus_allowed_list")
    victim = command.stage("middle")
    assert status(victim, "Cpus_allowed_list") == f"{CPU}"
    assert scheduling(victim) == (os.SCHED_FIFO, 7)
    for other in ("source", "sink"):
        assert status(command.stage(other), "Cpus_allowed_list") == everywhere
        assert scheduling(command.stage(other))[0] == os.SCHED_OTHER
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(events(command, "realtime")) == 2)
    again = command.stage("middle")
    assert again != victim
    assert (status(again, "Cpus_allowed_list"), scheduling(again)) == (f"{CPU}", (os.SCHED_FIFO, 7))
    ended = command.wait()
    assert ended.code == 0
    told = effects(project.folder / "report.json", "middle")
    assert {knob: effect["got"] for knob, effect in told.items() if knob in ("cpus", "switch interval")} == {
        "cpus": f"{CPU}",
        "switch interval": "500 us",
    }
    assert told["priority"]["got"].startswith("SCHED_FIFO 7 in ")
    assert all(effect["took_effect"] for effect in told.values())
    assert effects(project.folder / "report.json", "sink") == {}


def test_what_this_user_may_not_have_is_told_once_and_the_run_goes_on_without_it(project: Project) -> None:
    command = project.start("run", project.pipeline(LINE), "--report", "report.json", program=NO_RIGHT)
    eventually(lambda: events(command, "realtime"))
    victim = command.stage("middle")
    assert scheduling(victim)[0] == os.SCHED_OTHER
    assert status(victim, "Cpus_allowed_list") == f"{CPU}", "that needs no right"
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(events(command, "realtime")) == 2)
    assert len(events(command, "refused")) == 1
    ended = command.wait()
    assert ended.code == 0
    sentence = (
        "stage middle: priority SCHED_FIFO 7 is not in effect, it has SCHED_OTHER: operation not permitted (EPERM), "
        "RLIMIT_RTPRIO is 0; streamflow doctor has the remedy"
    )
    assert ended.sentences.count(sentence) == 1, ended.stderr
    told = effects(project.folder / "report.json", "middle")
    assert {knob for knob, effect in told.items() if not effect["took_effect"]} == {"priority"}
    row = next(line for line in ended.stdout.splitlines() + ended.stderr.splitlines() if "SCHED_FIFO 7" in line and
               line.startswith("middle"))  # fmt: skip
    assert row.split()[-2:] == ["SCHED_OTHER", "no"]


def test_stages_of_an_inline_run_get_nothing_and_that_is_told(project: Project) -> None:
    command = project.start("run", project.pipeline(LINE), "--inline", "--report", "report.json")
    eventually(lambda: events(command, "realtime"))
    assert scheduling(command.process.pid)[0] == os.SCHED_OTHER
    assert status(command.process.pid, "Cpus_allowed_list") == status(os.getpid(), "Cpus_allowed_list")
    ended = command.wait()
    assert ended.code == 0
    (told,) = effects(project.folder / "report.json", "middle").values()
    assert not told["took_effect"]
    assert any("its stages run in the supervisor's process" in sentence for sentence in ended.sentences)
