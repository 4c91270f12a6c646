"""Stages that are killed or stopped, fail again and again, or lose their supervisor: real processes, counts only."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamflow.core.timebase import s
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.runtime.rundir import RunFolder
from tests.conftest import ROOT
from tests.end_to_end.project import Command, Project, eventually
from tools.campaigns.storm import SHAPES, broken_account, numbered_storm

CAMPAIGNS = ROOT / "tools" / "campaigns"


@pytest.mark.parametrize(
    ("shape", "overflow", "link"),
    [
        ("line", "drop_oldest", "ipc"),
        ("join", "block", "ipc"),
        ("shared", "block", "ipc"),
        ("split", "block", "ipc"),
        ("line", "drop_oldest", "direct"),
        ("join", "block", "direct"),
    ],
)
def test_whatever_is_killed_every_number_is_on_disk_or_accounted_for(shape: str, overflow: str, link: str) -> None:
    result = numbered_storm(shape, overflow, 3, seed=2, gap_s=(0.05, 0.2), length_s=3.5, link=link)
    assert result.blows
    assert result.stayed
    assert [count for count in result.counts if not count.is_exact] == []
    assert result.broken == []


def test_what_waited_from_a_sender_that_was_killed_is_lost_with_its_receiver() -> None:
    """Both ends of a full edge, one shortly after the other, again and again."""
    result = numbered_storm(
        "line", "block", 8, seed=7, gap_s=(0.0, 0.03), length_s=4.0, rate_hz=60.0, work_s=0.02,
        victims=("middle", "sink"),
    )  # fmt: skip
    assert result.broken == []
    assert [count for count in result.counts if not count.is_exact] == []
    assert result.lost > 0


def _wait_for_file(path: Path) -> None:
    eventually(lambda: path.exists() and path.stat().st_size)


def _pid(folder: RunFolder, stage: str) -> int:
    if not folder.recording(stage).exists():
        return 0
    recording = Recording.open(folder.recording(stage))
    try:
        return recording.word(layout.PID) if recording.word(layout.PHASE) == layout.RUNNING else 0
    finally:
        recording.close()


def _numbered(project: Project, *more: object, count: int = 1000, shape: str = "line") -> tuple[Command, RunFolder]:
    """A run of numbered data whose stages are all at work."""
    command = project.start(
        "run", CAMPAIGNS / "numbered.py", "--report", "report.json", "--quiet", "--keep", "kept",
        "--set", f"out={project.folder}", "--set", f"count={count}", "--set", f"shape={shape}", *more,
    )  # fmt: skip
    folder = RunFolder(command.folder)
    for stage in SHAPES[shape].stages:
        _wait_for_file(folder.recording(stage))
    for stage in SHAPES[shape].stages:
        eventually(partial(_pid, folder, stage))
    return command, folder


def _events(project: Project) -> list[dict[str, Any]]:
    lines = (project.folder / "kept" / "recordings" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _report(project: Project) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((project.folder / "report.json").read_text())
    return report


@pytest.mark.parametrize("stage", ["source", "middle"])
def test_a_stopped_stage_is_found_killed_and_started_again(project: Project, stage: str) -> None:
    command, folder = _numbered(project)
    pid = _pid(folder, stage)
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: _pid(folder, stage) not in (0, pid))
    assert command.wait().code == 0
    hung = [event for event in _events(project) if event["event"] == "hung"]
    assert [event["stage"] for event in hung] == [stage]
    assert "stopped" in hung[0]["reason"]
    assert broken_account(_report(project)) == []


@pytest.mark.parametrize(
    ("how", "cause"),
    [("raises", "process raised ValueError"), ("killed", "was killed by SIGKILL"), ("open", "open raised OSError")],
)
def test_a_crash_loop_is_given_up_in_order_and_says_why(project: Project, how: str, cause: str) -> None:
    ended = project.run(
        CAMPAIGNS / "crashing.py", "--quiet", "--log-level", "error", "--keep", "kept",
        "--set", f"how={how}", "--set", f"mark={project.folder}/mark", "--set", f"out={project.folder}/lines",
    )  # fmt: skip
    assert ended.code == 1
    assert ended.sentence.startswith(f"stage crashing: {cause}" if how != "killed" else "stage crashing: its process")
    assert cause in ended.sentence
    assert "more than the 5 restarts in 10 s that are allowed (group crashing)" in ended.sentence
    assert ended.stderr.count("Traceback") == (0 if how == "killed" else 2), "when it was raised first, and at the end"
    events = _events(project)
    failed_ns = [event["at_ns"] for event in events if event["event"] == "failed"]
    assert max(sum(start <= at_ns <= start + 10 * s for at_ns in failed_ns) for start in failed_ns) == 6
    assert [event["process"] for event in events if event["event"] == "stopped"] == ["sink", "source"]


def test_a_killed_supervisor_takes_everything_along_and_can_be_read(project: Project) -> None:
    command, folder = _numbered(project, count=100_000)
    eventually(lambda: folder.state.exists())
    command.interrupt(signal.SIGKILL)
    command.wait()
    eventually(lambda: not command.processes())
    assert project.start("misses", folder.path, temporary=command.temporary).wait().code == 0
    traced = project.start("trace", folder.path, project.folder / "trace.json", temporary=command.temporary).wait()
    assert traced.code == 0, traced.stderr


GROUPED = """
def build(out: str, strategy: str = "one_for_one", restart: str = "transient") -> Pipeline:
    from streamflow import Restart, RestartStrategy
    p = Pipeline("grouped")
    source = p.add("source", Numbers(1500))
    first = p.add("first", Pass())
    second = p.add("second", Pass(), restart=Restart(restart))
    sink = p.add("sink", Count())
    for one, other in ((source, first), (first, second), (second, sink)):
        p.connect(one, other)
    p.supervise(source, first, second, sink, name="all", strategy=RestartStrategy(strategy))
    return p


class Count(Node):
    data = In("int64[]")

    def process(self, message):
        pass
"""


def _grouped(project: Project, *more: str) -> tuple[Command, dict[str, int]]:
    command = project.start(
        "run", project.pipeline(GROUPED), "--report", "report.json", "--quiet", "--keep", "kept",
        "--set", "out=x", *more,
    )  # fmt: skip
    folder = RunFolder(command.folder)
    stages = ("source", "first", "second", "sink")
    for stage in stages:
        _wait_for_file(folder.recording(stage))
    time.sleep(0.05)
    return command, {stage: eventually(partial(_pid, folder, stage)) for stage in stages}


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        ("one_for_one", ["second"]),
        ("rest_for_one", ["second", "sink"]),
        ("one_for_all", ["source", "first", "second", "sink"]),
    ],
)
def test_a_group_is_restarted_as_its_strategy_says(project: Project, strategy: str, restarted: Sequence[str]) -> None:
    command, pids = _grouped(project, "--set", f"strategy={strategy}")
    os.kill(pids["second"], signal.SIGKILL)
    assert command.wait().code == 0
    report = _report(project)
    assert [name for name, stage in report["stages"].items() if stage["restarts"]] == list(restarted)
    assert broken_account(report) == []


def test_a_temporary_stage_stays_ended_and_the_rest_goes_on(project: Project) -> None:
    command, pids = _grouped(project, "--set", "restart=temporary")
    os.kill(pids["second"], signal.SIGKILL)
    ended = command.wait()
    assert ended.code == 0, ended.stderr
    report = _report(project)
    assert report["stages"]["second"]["restarts"] == 0
    assert report["stages"]["source"]["emitted"] == 1500
    assert report["edges"]["first.same->second.data"]["lost"] > 0


BRIEF = """
def build(restart: str = "permanent") -> Pipeline:
    from streamflow import Restart, s
    p = Pipeline("brief")
    source = p.add("source", Brief(), restart=Restart(restart))
    p.connect(source, p.add("sink", Keep("kept.txt")))
    p.supervise(restart_intensity=2, restart_period=10 * s)
    return p


class Brief(Node):
    number = Out("int64[]")
    live = True

    async def run(self):
        for number in range(20):
            await trio.sleep(0.002)
            await self.emit(np.int64(number))
"""


@pytest.mark.parametrize(("restart", "lives"), [("permanent", 3), ("transient", 1), ("temporary", 1)])
def test_a_source_that_ends_is_started_again_if_it_is_permanent(project: Project, restart: str, lives: int) -> None:
    ended = project.run(
        project.pipeline(BRIEF),
        "--quiet",
        "--log-level",
        "error",
        "--report",
        "report.json",
        "--set",
        f"restart={restart}",
    )
    kept, report = project.kept("kept.txt"), _report(project)
    assert kept.numbers == list(range(20)) * lives
    assert report["stages"]["source"]["restarts"] == lives - 1
    assert kept.is_closed
    assert kept.is_flushed == (lives == 1)
    assert ended.code == (1 if restart == "permanent" else 0)
    if restart == "permanent":
        assert ended.sentence.startswith("stage source: its stream has ended, and it is declared permanent; 3 failures")
