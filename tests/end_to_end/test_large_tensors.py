"""Frames that travel in shared memory: whole, in place, back in their slots, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streamflow.memory.pool import class_of
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from tests.end_to_end.project import Command, Project, eventually

FRAMES = '''
import json

import numpy as np

from streamflow import In, Node, Out, Pipeline


class Camera(Node):
    """Frames that are full of their own number, written in place where `in_place` says so."""

    frame = Out("uint32[rows, columns]")

    def __init__(self, count, rate_hz, in_place):
        self.count, self.rate_hz, self.in_place = count, rate_hz, in_place

    async def run(self):
        for number in range(self.count):
            await self.pace(round(number * 1e9 / self.rate_hz))
            frame = self.allocate((300, 500), "uint32") if self.in_place else np.empty((300, 500), "uint32")
            frame[...] = number
            await self.emit(frame)


class Half(Node):
    """The upper half, which need not be copied, and one that is computed, in a slot."""

    frame = In("uint32[rows, columns]")
    upper = Out("uint32[rows, columns]")
    double = Out("uint32[rows, columns]")

    def process(self, message):
        double = self.allocate(message.array.shape, "uint32")
        np.multiply(message.array, 2, out=double)
        return {"upper": message.array[:150], "double": double}


class Check(Node):
    """Keeps the last few frames, and writes down what it has seen, a number a line; -1 where a frame was not whole."""

    frame = In("uint32[rows, columns]")

    def __init__(self, path, factor):
        self.path, self.factor, self.kept = path, factor, []

    def open(self):
        self.file = open(self.path, "a", buffering=1)

    def process(self, message):
        self.kept = [*self.kept[-2:], (message.array, message.seq)]
        is_whole = all((array == seq * self.factor).all() for array, seq in self.kept)
        self.file.write(f"{message.seq if is_whole else -1}\\n")

    def close(self):
        self.file.close()


def build(out: str, count: int = 100, rate_hz: float = 200.0, in_place: bool = True) -> Pipeline:
    p = Pipeline("frames")
    camera = p.add("camera", Camera(count, rate_hz, in_place))
    half = p.add("half", Half())
    p.connect(camera, half, capacity=4)
    for name, port, factor in (("upper", half.upper, 1), ("double", half.double, 2)):
        p.connect(port, p.add(name, Check(f"{out}/{name}", factor)), capacity=4)
    whole = p.add("whole", Check(f"{out}/whole", 1))
    p.connect(camera, whole, capacity=4)
    return p
'''

SLOTS_AT_MOST = 28  # of a stage's 1,000 frames: in both mailboxes, being sent, in use, kept, rounded up to 4 + 8 + 16


def _seen(project: Project, name: str) -> list[int]:
    return [int(line) for line in (project.folder / name).read_text().splitlines()]


def _start(project: Project, *settings: str, link: str = "ipc", pool_mb: int = 100) -> Command:
    path = project.write("frames.py", FRAMES)
    options = [word for setting in (f"out={project.folder}", *settings) for word in ("--set", setting)]
    return project.start(
        "run",
        path,
        "--quiet",
        "--report",
        "report.json",
        "--restart-limit",
        "50/10",
        "--link",
        link,
        "--pool-mb",
        pool_mb,
        *options,
    )


def _report(project: Project) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((project.folder / "report.json").read_text())
    return report


def test_frames_of_any_make_arrive_whole_at_all_that_get_them(project: Project) -> None:
    for in_place in ("true", "false"):
        command = _start(project, f"in_place={in_place}")
        assert command.wait().code == 0
    for name in ("upper", "double", "whole"):
        assert _seen(project, name) == [*range(100), *range(100)]
    assert _report(project)["conserved"] is True
    project.assert_nothing_left()


def test_slots_are_used_again_and_not_many_are_needed(project: Project) -> None:
    command = _start(project, "count=1000000")
    _wait_for_lines(project.folder / "whole", 500)
    assert 0 < _pool_size(command) <= 2 * SLOTS_AT_MOST * class_of(300 * 500 * 4)
    command.interrupt()
    assert command.wait().code == 130
    project.assert_nothing_left()


@pytest.mark.parametrize("link", ["ipc", "direct"])
def test_whoever_is_killed_no_frame_is_torn_and_no_slot_is_lost(project: Project, link: str) -> None:
    command = _start(project, "count=1000000", "rate_hz=150", link=link)
    chance = random.Random(4)
    _wait_for_lines(project.folder / "whole", 20)
    for _ in range(10):
        time.sleep(chance.uniform(0.1, 0.5))
        victims = chance.sample(["camera", "half", "whole", "double"], chance.choice([1, 1, 2]))
        for pid in filter(None, [_pid(command, victim) for victim in victims]):
            with suppress(ProcessLookupError):  # dead already, and not yet seen to be
                os.kill(pid, signal.SIGKILL)
    _wait_for_lines(project.folder / "double", len(_seen(project, "double")) + 50)
    assert _pool_size(command) < 60_000_000
    rings = command.folder / "recordings"
    eventually(lambda: not list(rings.glob("*.ring")))  # they have names only until both ends have them
    command.interrupt()
    assert command.wait().code == 130
    assert _report(project)["conserved"] is True
    for name in ("upper", "double", "whole"):
        assert -1 not in _seen(project, name)
    project.assert_nothing_left()


def _pid(command: Command, stage: str) -> int:
    """Of its process while that is at work; else 0."""
    recording = Recording.open(command.folder / "recordings" / f"{stage}.rec")
    try:
        return recording.word(layout.PID) if recording.word(layout.PHASE) == layout.RUNNING else 0
    finally:
        recording.close()


def _wait_for_lines(path: Path, count: int) -> None:
    eventually(lambda: path.exists() and len(path.read_text().splitlines()) >= count, 60)


def _pool_size(command: Command) -> int:
    return sum(path.stat().st_size for path in (command.folder / "recordings").glob("*.pool"))


def test_who_finds_no_slot_waits_and_at_last_sends_the_tensor_itself(project: Project) -> None:
    """The sinks keep three frames each, which with what else is in use is more than the limit has room for."""
    command = _start(project, "count=12", pool_mb=2)
    assert command.wait().code == 0
    for name in ("upper", "double", "whole"):
        assert _seen(project, name) == list(range(12))
    report = _report(project)
    assert report["conserved"] is True
    assert report["stages"]["camera"]["pool_exhausted"] > 0
    assert report["stages"]["camera"]["pool_mb"] <= 2


def test_without_shared_memory_tensors_travel_in_messages(project: Project) -> None:
    command = _start(project, "count=12", pool_mb=0)
    assert command.wait().code == 0
    for name in ("upper", "double", "whole"):
        assert _seen(project, name) == list(range(12))
    assert all(stage["pool_mb"] == 0 for stage in _report(project)["stages"].values())
