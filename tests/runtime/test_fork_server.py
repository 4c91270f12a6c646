"""Warm starts with real processes: copies of a server that are the supervisor's own children, and die with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from nodes.infer import Function
from streamflow import Pipeline
from streamflow.runtime.loading.loader import Reference, load
from streamflow.runtime.process.control import ControlServer
from streamflow.runtime.process.fork_server import ForkServer, starts_warm
from streamflow.runtime.process.launch import ChildProcess, StageProcess, is_subreaper, process_state
from streamflow.runtime.rundir import OwnedRunFolder
from streamflow.transport.zmq_socket import ZmqContext

PIPELINE = """
import os, random, subprocess, sys
import numpy as np
from streamflow import In, Node, Out, Pipeline

LOADED_BY = os.getpid()
np.random.random()  # the old global generator is there, in a state that every copy has


class Source(Node):
    number = Out("int64[]")

    async def run(self):
        await self.emit(np.int64(1), event_time_ns=0)


class Probe(Node):
    # Writes what a process is like when it opens, and ends it where it was told to.
    data = In("int64[]")

    def __init__(self, path, ends):
        self.path, self.ends = path, ends

    def preload(self):
        self.preloaded_by = os.getpid()
        raise RuntimeError("open meets it again")

    def open(self):
        orphan = subprocess.Popen(["sh", "-c", "sleep 0.3 & echo $!"], stdout=subprocess.PIPE).communicate()[0]
        with open(self.path, "a") as file:
            print(os.getpid(), os.getppid(), os.getpgrp(), LOADED_BY, getattr(self, "preloaded_by", 0),
                  np.random.randint(1 << 30), len(os.listdir("/proc/self/task")), int(orphan), file=file)
        if self.ends:
            os._exit(3)

    def process(self, message):
        pass


class Holds(Probe):
    fork_safe = False


def build(path: str = "", ends: bool = False, only_in: int = 0) -> Pipeline:
    if only_in and os.getpid() != only_in:
        sys.exit("cannot be built here")
    p = Pipeline("probe")
    p.connect(p.add("source", Source(), process="both"), p.add("probe", Probe(path, ends), process="both"))
    p.connect(p.add("other", Source()), p.add("holds", Holds(path, ends)))
    return p
"""

SUPERVISOR = """
import sys, trio
from pathlib import Path
from streamflow.runtime.process.fork_server import ForkServer
from streamflow.runtime.rundir import RunFolder

async def main():
    server = ForkServer(RunFolder(Path(sys.argv[1])))
    server.start()
    child = await server.fork("both")
    print(server.pid, child.pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""
OPEN_LIMIT_S = 20
COLUMNS = ("pid", "parent", "group", "loaded_by", "preloaded_by", "chance", "thread_count", "orphan")


class Run:
    """A run's folder with its description, and the supervisor's end of the conversation."""

    def __init__(self, project: Path, folder: OwnedRunFolder, context: ZmqContext, **settings: object) -> None:
        self.notes = project / "notes"
        self.folder = folder
        texts = {"path": str(self.notes), **{name: str(value) for name, value in settings.items()}}
        reference = Reference(str(project / "probe.py"), texts)
        self.loaded = load(reference)
        folder.describe(
            {
                "reference": reference.text,
                "settings": texts,
                "pipeline": "probe",
                "offline": True,
                "speed": 1.0,
                "endpoint": folder.edge_endpoint,
                "search_path": [path for path in sys.path if path],
                "working_folder": str(project),
            }
        )
        self._context = context
        self.listen()

    def listen(self) -> None:
        """Begin a conversation in which no process has said hello yet."""
        self.control = ControlServer(self._context, self.folder.control_endpoint, self.loaded.key)

    async def has_joined(self, process: str) -> None:
        while (await self.control.hear())[0] != process:
            pass

    async def open_stages(self, generation: int = 0) -> None:
        """Answer the next process until its stages are open."""
        while True:
            with trio.fail_after(OPEN_LIMIT_S):  # it may have died of what it heard
                _, telegram = await self.control.hear()
            assert telegram["is"] != "failed", telegram
            if telegram["is"] == "hello":
                life = {"generation": generation, "edges": {}, "down_since_ns": 0, "gone": [], "lost_devices": []}
                self.control.tell_all({"is": "life", **life})
            if telegram["is"] == "bound":
                self.control.tell_all({"is": "connect", "endpoints": {}})
            if telegram["is"] == "opened" and telegram["stage"] == "probe":
                return

    def noted(self) -> list[dict[str, int]]:
        """What each `Probe` found when it opened."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [dict(zip(COLUMNS, map(int, line.split()), strict=True)) for line in lines]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Run]]:
    temporary = Path(tempfile.mkdtemp(prefix="sf", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(sys, "path", list(sys.path))  # loading a pipeline adds its folder
    (tmp_path / "probe.py").write_text(textwrap.dedent(PIPELINE))
    runs: list[Run] = []
    with ZmqContext() as context:

        def make(**settings: object) -> Run:
            runs.append(Run(tmp_path, OwnedRunFolder("probe"), context, **settings))
            return runs[-1]

        yield make
        for run in runs:
            run.control.close()
    for run in runs:
        run.folder.close()
    shutil.rmtree(temporary)


@pytest.fixture
async def run(make_run: Callable[..., Run]) -> Run:
    return make_run()


@pytest.fixture
async def server(run: Run) -> AsyncIterator[ForkServer]:
    server = ForkServer(run.folder)
    server.start()
    yield server
    server.close()


async def forked(server: ForkServer, process: str = "both", generation: int = 0) -> ChildProcess:
    child = await server.fork(process, generation)
    assert child is not None
    return child


def is_running(pid: int) -> bool:
    return process_state(pid) not in ("X", "Z")


def shown_by_ps(pid: int) -> tuple[str, list[str]]:
    """Its name, and its arguments without the interpreter."""
    folder = Path(f"/proc/{pid}")
    arguments = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return (folder / "comm").read_text().strip(), [part.decode() for part in arguments[1:]]


def until(condition: Callable[[], object], limit_s: float = 10) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


async def test_a_copy_is_the_supervisors_child_in_a_group_of_its_own_and_has_built_nothing(
    run: Run, server: ForkServer
) -> None:
    child = await forked(server)
    await run.open_stages()
    (noted,) = run.noted()
    assert noted["pid"] == noted["group"] == child.pid
    assert noted["parent"] == os.getpid()
    assert noted["loaded_by"] == noted["preloaded_by"] == server.pid
    child.close()


async def test_copies_differ_in_chance(run: Run, server: ForkServer) -> None:
    for generation in range(2):
        child = await forked(server)
        await run.open_stages(generation)
        child.close()
        run.control.close()
        run.listen()
    first, second = run.noted()
    assert first["chance"] != second["chance"]


async def test_ps_shows_a_copy_as_it_shows_a_stage_that_was_started_cold(run: Run, server: ForkServer) -> None:
    child = await forked(server, generation=2)
    await run.has_joined("both")
    expected = ["-m", "streamflow.runtime.process.stage_process", str(run.folder.path), "both", str(os.getpid()), "2"]
    assert shown_by_ps(child.pid) == ("both", expected)
    child.close()


@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
async def test_how_a_process_ended_is_told(make_run: Callable[..., Run], is_warm: bool) -> None:
    run = make_run(ends=True)
    server = ForkServer(run.folder)
    if is_warm:
        server.start()

    async def started() -> ChildProcess:
        return await forked(server) if is_warm else StageProcess(run.folder, "both")

    child = await started()
    assert is_running(child.pid)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.open_stages)
        assert await child.wait() == "ended with status 3"
        nursery.cancel_scope.cancel()
    child.close()

    child = await started()
    child.kill()
    assert await child.wait() == "was killed by SIGKILL"
    assert child.stop_state() == "X"
    child.close()
    server.close()


async def test_a_process_that_is_stopped_is_seen_to_stand_still(run: Run, server: ForkServer) -> None:
    child = await forked(server)
    await run.has_joined("both")
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: child.stop_state() == "T")
    os.kill(child.pid, signal.SIGCONT)
    until(lambda: child.stop_state() in "SR")
    child.close()


async def test_a_copy_that_ends_before_anybody_looks_is_not_lost(run: Run, server: ForkServer) -> None:
    child = await forked(server)
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: process_state(child.pid) == "Z")
    server.reap_orphans([child.pid, run.folder.janitor_pid])
    assert await child.wait() == "was killed by SIGKILL"
    child.close()


async def test_what_a_stage_had_started_is_reaped_when_it_has_lost_its_parent(run: Run, server: ForkServer) -> None:
    child = await forked(server)
    await run.open_stages()
    orphan = run.noted()[0]["orphan"]
    until(lambda: process_state(orphan) == "Z")
    assert server.reap_orphans([child.pid, run.folder.janitor_pid]) >= 1
    assert process_state(orphan) == "X"
    assert is_running(child.pid)
    child.close()


async def test_without_a_server_there_is_no_copy(run: Run) -> None:
    server = ForkServer(run.folder)
    assert not server.is_alive
    assert not await server.ready()
    assert await server.fork("both") is None
    server.close()


async def test_a_server_that_is_killed_forks_no_more_and_its_copies_go_on(run: Run, server: ForkServer) -> None:
    child = await forked(server)
    await run.has_joined("both")
    assert server.is_alive
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert await server.fork("both") is None
    assert not server.is_alive
    assert is_running(child.pid)
    child.close()


async def test_a_server_that_cannot_load_the_pipeline_says_why(
    make_run: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run(only_in=os.getpid())
    server = ForkServer(run.folder)
    server.start()
    assert not await server.ready()
    assert await server.fork("both") is None
    server.close()
    assert "cannot be built here while it built the pipeline" in capfd.readouterr().err


async def test_a_start_that_is_cancelled_leaves_no_copy(run: Run, server: ForkServer) -> None:
    assert await server.ready()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    with trio.move_on_after(0.05) as scope:
        await server.fork("both")
    assert scope.cancelled_caught
    assert not server.is_alive
    with trio.move_on_after(0.5) as scope:
        await run.has_joined("both")
    assert scope.cancelled_caught


async def test_the_supervisor_is_a_subreaper_only_as_long_as_it_has_a_server(run: Run) -> None:
    server = ForkServer(run.folder)
    assert not is_subreaper()
    server.start()
    assert is_subreaper()
    server.close()
    assert not is_subreaper()


def test_server_and_copies_die_with_a_supervisor_that_is_killed(make_run: Callable[..., Run]) -> None:
    run = make_run()
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(run.folder.path)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    pids = [int(word) for word in supervisor.stdout.readline().split()]
    assert all(map(is_running, pids))
    supervisor.kill()
    supervisor.communicate()
    until(lambda: not any(map(is_running, pids)))


async def test_a_stage_that_a_fork_would_break_starts_cold(run: Run) -> None:
    definition: Any = run.loaded.definition
    assert starts_warm(definition, ["source", "probe"])
    assert not starts_warm(definition, ["source", "holds"])


@pytest.mark.parametrize("has_driver", [True, False])
def test_a_stage_that_may_have_a_gpu_starts_cold_where_there_is_a_driver(
    has_driver: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamflow.runtime.process.fork_server.has_cuda_driver", lambda: has_driver)
    p = Pipeline("devices")
    p.add("gpu", Function(max, input="float32[time]", output="float32[]"), device=["cuda:0", "host"])
    p.add("host", Function(max, input="float32[time]", output="float32[]"), device="host")
    definition = p.definition()
    assert starts_warm(definition, ["host"])
    assert starts_warm(definition, ["gpu", "host"]) is not has_driver
