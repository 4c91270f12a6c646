"""The processes of a run as copies of the one that was asked to run it: what they are, and what replaces the server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.end_to_end.project import Command, Project, eventually

PIPELINE = '''
import atexit
import os

import numpy as np

from streamflow import In, Node, Out, Pipeline

LOADED_BY = os.getpid()
print(f"loaded by {LOADED_BY}", flush=True)


class Source(Node):
    number = Out("int64[]")

    def __init__(self, is_safe):
        self.fork_safe = is_safe

    async def run(self):
        number = 0
        while True:
            await self.pace(number * 10_000_000)
            await self.emit(np.int64(number), event_time_ns=number)
            number += 1


class Sink(Node):
    """Writes of each life who it is, and when it ends that it has."""

    data = In("int64[]")

    def __init__(self, path, is_safe):
        self.path, self.fork_safe = path, is_safe

    def note(self, *words):
        with open(self.path, "a") as file:
            print(*words, file=file)

    def open(self):
        self.note("opened", os.getpid(), os.getppid(), LOADED_BY)
        atexit.register(self.note, "left", os.getpid())

    def process(self, message):
        pass


def build(path: str, is_safe: bool = True) -> Pipeline:
    p = Pipeline("warm")
    p.connect(p.add("source", Source(is_safe)), p.add("sink", Sink(path, is_safe)))
    return p
'''


def _start(project: Project, *arguments: str) -> tuple[Command, Path]:
    path, notes = project.write("warm.py", PIPELINE), project.folder / "notes"
    return project.start("run", path, "--quiet", "--set", f"path={notes}", *arguments), notes


def _lives(notes: Path, count: int) -> list[list[int]]:
    """(pid, parent, who has loaded it) of the first lives of the sink."""

    def found() -> list[list[int]] | None:
        lines = notes.read_text().splitlines() if notes.exists() else []
        lives = [[int(word) for word in line.split()[1:]] for line in lines if line.startswith("opened")]
        return lives if len(lives) >= count else None

    lives: list[list[int]] = eventually(found)
    return lives


def _server(command: Command) -> int:
    name = "streamflow.runtime.process.fork_server"
    return eventually(lambda: next((pid for pid, line in command.processes().items() if name in line), None))


def _wait_running(command: Command) -> None:
    eventually(lambda: any(event["event"] == "priority" for event in command.events()))


def test_a_run_loads_its_pipeline_once(project: Project) -> None:
    command, notes = _start(project)
    ((_, parent, loaded_by),) = _lives(notes, 1)
    _wait_running(command)
    assert parent == loaded_by == command.process.pid
    command.interrupt()
    ended = command.wait()
    assert (ended.code, ended.stdout) == (130, f"loaded by {loaded_by}\n")
    project.assert_nothing_left()


def test_a_copy_ends_as_a_program_of_its_own_does(project: Project) -> None:
    command, notes = _start(project, "--duration", "0.3")
    ((pid, _, _),) = _lives(notes, 1)
    assert command.wait().code == 0
    assert notes.read_text().splitlines()[-1] == f"left {pid}"
    assert notes.read_text().count("left") == 1


def test_ps_tells_the_server_and_each_stage_apart(project: Project) -> None:
    command, notes = _start(project)
    _lives(notes, 1)
    _wait_running(command)
    for pid, name in ((_server(command), "fork_server"), (command.stage("sink"), "sink")):
        assert Path(f"/proc/{pid}/comm").read_text().strip() == name
        assert Path(f"/proc/{pid}/cwd").readlink() == Path(f"/proc/{command.process.pid}/cwd").readlink()
    command.interrupt()
    assert command.wait().code == 130


def test_where_the_server_has_died_another_takes_its_place(project: Project) -> None:
    command, notes = _start(project)
    _wait_running(command)
    first = _server(command)
    os.kill(first, signal.SIGKILL)
    os.kill(command.stage("sink"), signal.SIGKILL)
    (before, after) = _lives(notes, 2)
    second = _server(command)
    assert (before[2], after[1], after[2]) == (command.process.pid, command.process.pid, second)
    assert second != first
    command.interrupt()
    assert command.wait().code == 130
    project.assert_nothing_left()


def test_nothing_is_copied_where_no_node_may_be(project: Project) -> None:
    command, notes = _start(project, "--set", "is_safe=false")
    ((pid, _, loaded_by),) = _lives(notes, 1)
    assert loaded_by == pid
    assert not [line for line in command.processes().values() if "fork_server" in line]
    command.interrupt()
    command.wait()


def test_a_server_that_nobody_needed_is_gone_with_the_run(project: Project) -> None:
    command, _ = _start(project, "--wait-for", "source", "--wait-for", "sink")
    _server(command)
    command.interrupt()
    assert command.wait().code != 0
    project.assert_nothing_left()
