"""Runs of the real command line in real processes, in a project folder of their own, that must leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HARD_LIMIT_S = 60  # a run that takes longer hangs; it is killed and the test fails
LEFTOVER_LIMIT_S = 2  # what is still there after that was left behind
ENDED = ("Z", "X")
# What is left, on purpose, of a run whose supervisor was killed: what can be read of it.
READABLE = re.compile(r".*\.rec|run\.json|events\.jsonl|state\.json|course-\d+\.json|lock|recordings")

OWN_NODES = '''
"""Nodes of the tests' own: numbers from 0, and a sink that keeps what it gets and how it ended."""

import os

import numpy as np

from streamflow import In, Node, Out


class Numbers(Node):
    """The numbers from 0, one a millisecond of recorded time, or `rate_hz`; for ever without a count."""

    number = Out("int64[]")

    def __init__(self, count=None, rate_hz=1000.0):
        self.count, self.rate_hz = count, rate_hz

    async def run(self):
        number = 0
        while self.count is None or number < self.count:
            due_ns = await self.pace(round(number * 1e9 / self.rate_hz))
            await self.emit(np.int64(number), event_time_ns=due_ns)
            number += 1


class Pass(Node):
    """Hands on what it gets."""

    data = In("int64[]")
    same = Out("int64[]")

    def process(self, message):
        return message.array


class Keep(Node):
    """Writes its process, what it gets, and whether it was flushed and closed, a word a line."""

    data = In("int64[]")

    def __init__(self, path):
        self.path = path

    def open(self):
        self.file = open(self.path, "w")
        self.write(f"pid {os.getpid()}")

    def write(self, line):
        print(line, file=self.file, flush=True)

    def process(self, message):
        self.write(f"got {int(message.array)}")

    def flush(self):
        self.write("flushed")

    def close(self):
        self.write("closed")
        self.file.close()
'''

PIPELINE_HEAD = """
import asyncio, ctypes, os, sys, threading, time
import numpy as np
import trio
from nodes.own import Keep, Numbers, Pass
from streamflow import In, InputError, Node, Out, Output, Overflow, Pipeline
"""


@dataclass(frozen=True)
class Kept:
    """What a `Keep` wrote."""

    pid: int
    numbers: list[int]
    is_flushed: bool
    is_closed: bool


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def sentences(self) -> list[str]:
        """What streamflow itself had to say."""
        return [
            line.removeprefix("streamflow: ") for line in self.stderr.splitlines() if line.startswith("streamflow: ")
        ]

    @property
    def sentence(self) -> str:
        """The only one."""
        assert len(self.sentences) == 1, self.stderr
        return self.sentences[0]


@dataclass
class Command:
    """A command that runs, in a temporary folder of its own."""

    process: subprocess.Popen[str]
    temporary: Path
    started: float = field(default_factory=time.monotonic)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = HARD_LIMIT_S) -> Ended:
        stdout, stderr = self.process.communicate(timeout=timeout_s)
        return Ended(self.process.returncode, stdout, stderr, time.monotonic() - self.started)

    def processes(self) -> dict[int, str]:
        """Every process of the run, this one included: process id and command line."""
        return processes_in(self.temporary)

    def stage(self, name: str) -> int:
        """The process id of a stage's process."""
        return eventually(lambda: next((pid for pid, line in self.processes().items() if f" {name} " in line), None))

    def events(self) -> list[dict[str, Any]]:
        """What the run has written down so far."""
        path = self.folder / "recordings" / "events.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def leftovers(self) -> list[str]:
        """Files in the temporary folder that nobody is meant to find there."""
        folders = list(self.temporary.glob("*/[!.]*"))
        if self.process.returncode == -signal.SIGKILL and len(folders) == 1:
            return [str(path) for path in files_below(folders[0]) if not READABLE.fullmatch(path.name)]
        return [str(path) for path in files_below(self.temporary)]

    def memory(self) -> list[Path]:
        """Folders in memory that belong to runs in the temporary folder."""
        return [folder for folder in _memory_of_runs() if _is_of(folder, self.temporary)]

    @property
    def folder(self) -> Path:
        """The run's folder, once the run has made it."""
        return eventually(lambda: next(self.temporary.glob("*/[!.]*"), None))


def _memory_of_runs() -> list[Path]:
    """Folders in memory that say whose they are, of these tests' runs and of runs beside them."""
    return [link.parent for link in Path("/dev/shm").glob("*/.run")]


def _is_of(folder: Path, temporary: Path) -> bool:
    try:
        return (folder / ".run").readlink().is_relative_to(temporary)
    except FileNotFoundError:  # of a run beside these that has just ended
        return False


def _ownerless_memory() -> set[str]:
    """Names of ours that belong to no run; for a moment also what another run is making or taking away."""
    names = {name for name in os.listdir("/dev/shm") if name.lstrip(".").startswith("streamflow")}
    return names - {folder.name for folder in _memory_of_runs()}


def files_below(folder: Path) -> list[Path]:
    """Everything in it, also while the janitor moves things about."""
    while True:
        try:
            return list(folder.rglob("*"))
        except FileNotFoundError:
            continue


def processes_in(temporary: Path) -> dict[int, str]:
    """Living processes that have `temporary` as their temporary folder."""
    mark = f"TMPDIR={temporary}\0".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in ENDED and mark in (folder / "environ").read_bytes() + b"\0":
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def eventually(find: Callable[[], Any], limit_s: float = 20) -> Any:
    """What `find` returns once it is true."""
    end = time.monotonic() + limit_s
    while not (found := find()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Started:
    """A run that was started beside others, to be waited for by the test that is about it."""

    project: Project
    command: Command


class Project:
    """A user's folder with `nodes/` and `pipelines/`, and the command line run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._commands: list[Command] = []
        self._ownerless_memory = _ownerless_memory()
        self.write("nodes/own.py", OWN_NODES)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def pipeline(self, body: str, name: str = "probe") -> str:
        """Write `pipelines/<name>.py`, with the usual imports in front; its reference."""
        self.write(f"pipelines/{name}.py", PIPELINE_HEAD + textwrap.dedent(body))
        return f"pipelines/{name}.py"

    def start(
        self,
        *arguments: object,
        program: Sequence[str] = (sys.executable, "-m", "streamflow"),
        temporary: Path | None = None,
        **options: Any,
    ) -> Command:
        """Start `streamflow ARGUMENTS` in the project's folder."""
        temporary = temporary or Path(tempfile.mkdtemp(prefix="sf", dir="/tmp"))  # short: for the sockets in it
        process = subprocess.Popen(
            [*program, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(temporary)},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        command = Command(process, temporary)
        self._commands.append(command)
        return command

    def run(self, *arguments: object, timeout_s: float = HARD_LIMIT_S, **options: Any) -> Ended:
        """`streamflow run ARGUMENTS` from beginning to end."""
        return self.start("run", *arguments, **options).wait(timeout_s)

    def report(self, *arguments: object) -> dict[str, Any]:
        """The report of a run that must succeed."""
        path = self.folder / "report.json"
        path.unlink(missing_ok=True)
        ended = self.run(*arguments, "--report", path, "--quiet")
        assert ended.code == 0, ended.stderr
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def kept(self, name: str) -> Kept:
        """What the `Keep` of that file was given."""
        lines = [line.split() for line in (self.folder / name).read_text().splitlines()]
        words = {line[0]: line[-1] for line in lines}
        numbers = [int(line[1]) for line in lines if line[0] == "got"]
        return Kept(int(words["pid"]), numbers, "flushed" in words, "closed" in words)

    def assert_nothing_left(self) -> None:
        """No process, no file in the temporary folder, no shared memory; what is left is taken away all the same.

        Of a run that was killed the dead run's folder may be left, with what can be read and nothing else.
        """
        left: dict[str, Mapping[int, str] | list[str]] = {}
        for command in self._commands:
            end = time.monotonic() + LEFTOVER_LIMIT_S
            while (processes := command.processes()) and time.monotonic() < end:
                time.sleep(0.02)
            if processes:
                left["processes"] = processes
            for pid in processes:
                os.kill(pid, signal.SIGKILL)
            command.process.wait()
            for stream in (command.process.stdout, command.process.stderr):
                if stream is not None:
                    stream.close()
            if files := command.leftovers():
                left["files"] = files
            if memory := [str(path) for path in command.memory()]:
                left["memory of the run"] = memory
            shutil.rmtree(command.temporary, ignore_errors=True)
        end = time.monotonic() + LEFTOVER_LIMIT_S
        while (ownerless := _ownerless_memory() - self._ownerless_memory) and time.monotonic() < end:
            time.sleep(0.02)
        if ownerless:
            left["shared memory"] = sorted(ownerless)
        assert not left, left
