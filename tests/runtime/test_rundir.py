"""The run's folder: what it holds, what is left of a run that was killed, and who clears up behind it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime import rundir
from streamflow.runtime.rundir import (
    OwnedRunFolder,
    RunFolder,
    abandoned_runs,
    base_folder,
    dead_runs,
    find_run,
    live_runs,
    sweep,
)

SUPERVISOR = """
import socket, sys, time
from pathlib import Path
from streamflow.runtime.rundir import OwnedRunFolder
folder = OwnedRunFolder(sys.argv[1])
if sys.argv[2:] != ["undescribed"]:
    folder.describe({"pipeline": sys.argv[1]})
for stage in ("source", "sink"):
    folder.recording(stage).write_bytes(stage.encode() * 1000)
    folder.states(stage).write_bytes(bytes(100))
folder.events.write_text("{}\\n")
folder.state.write_text("{}")
sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for one, name in zip(sockets, ("control", "e0")):
    one.bind(str(folder.path / name))
print(folder.path, folder.janitor_pid, flush=True)
time.sleep(1000)
"""
READABLE = {"lock", "run.json", "recordings", "source.rec", "sink.rec", "events.jsonl", "state.json"}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder, short enough for sockets (tmp_path is made before); nothing in memory may be left of it."""
    folder = Path(tempfile.mkdtemp(prefix="sf", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    left = [link for link in Path("/dev/shm").glob("streamflow-*/.run") if link.readlink().is_relative_to(folder)]
    shutil.rmtree(folder)
    sweep()
    assert left == []


class Killable:
    """A supervisor in a process of its own."""

    def __init__(self, temporary: Path, pipeline: str, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, pipeline, *more],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        assert self.process.stdout is not None
        path, janitor = self.process.stdout.readline().rsplit(" ", 1)
        self.path, self.janitor_pid = Path(path), int(janitor)

    def kill(self, *, janitor: bool = False) -> None:
        if janitor:
            os.kill(self.janitor_pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()

    @property
    def memory(self) -> Path:
        return Path("/dev/shm") / f"streamflow-{os.getuid()}-{self.path.name}"


@pytest.fixture
def supervisor(temporary: Path) -> Iterator[Callable[..., Killable]]:
    started: list[Killable] = []

    def start(pipeline: str, *more: str) -> Killable:
        started.append(Killable(temporary, pipeline, *more))
        return started[-1]

    yield start
    for one in started:
        if one.process.returncode is None:
            one.kill()
    for one in started:
        until(lambda one=one: not is_running(one.janitor_pid))


def until(condition: Callable[[], object], limit_s: float = 10) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def killed(supervisor: Callable[..., Killable], pipeline: str, *more: str) -> Killable:
    """A run that was killed and cleared up behind."""
    one = supervisor(pipeline, *more)
    one.kill()
    until(lambda: not is_running(one.janitor_pid))
    return one


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_the_recordings_of_a_run_that_lives_are_in_memory_and_private() -> None:
    folder = OwnedRunFolder("speech")
    try:
        memory = folder.recordings.resolve()
        assert memory.parent == Path("/dev/shm")
        assert memory.stat().st_mode & 0o777 == 0o700
        assert folder.recording("vad") == folder.path / "recordings" / "vad.rec"
    finally:
        folder.close()
    assert not memory.exists()


def test_where_there_is_no_memory_to_write_the_recordings_are_in_the_runs_folder(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr(rundir, "SHARED_MEMORY", temporary / "missing")
    folder = OwnedRunFolder("speech")
    try:
        assert folder.recordings.is_dir()
        assert not folder.recordings.is_symlink()
    finally:
        folder.close()
    assert names(temporary) == set()


def test_nothing_is_left_of_a_run_that_was_closed(temporary: Path) -> None:
    folder = OwnedRunFolder("speech")
    folder.describe({"pipeline": "speech"})
    folder.recording("vad").write_bytes(b"recorded")
    folder.close()
    assert names(temporary) == set()


def test_what_was_recorded_is_kept_where_asked_and_can_be_read_like_a_run(tmp_path: Path) -> None:
    folder = OwnedRunFolder("speech", tmp_path / "kept" / "here")
    folder.describe({"pipeline": "speech"})
    folder.recording("vad").write_bytes(b"recorded")
    folder.events.write_text("{}\n")
    folder.close()
    kept = find_run(str(tmp_path / "kept" / "here"))
    assert kept.pipeline == "speech"
    assert kept.recording("vad").read_bytes() == b"recorded"
    assert names(kept.path) == {"run.json", "recordings", "vad.rec", "events.jsonl"}


def test_a_folder_that_cannot_be_made_for_what_is_kept_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        OwnedRunFolder("speech", tmp_path / "file" / "kept")
    assert live_runs() == []


def test_what_cannot_be_kept_is_told_and_nothing_is_left_all_the_same(tmp_path: Path, temporary: Path) -> None:
    folder = OwnedRunFolder("speech", tmp_path / "kept")
    (tmp_path / "kept").rmdir()
    (tmp_path / "kept").write_text("in the way")
    with pytest.raises(StreamflowError, match="could not be kept"):
        folder.close()
    assert names(temporary) == set()


def test_of_a_run_that_is_killed_what_it_recorded_is_left_and_no_socket_and_no_memory(
    supervisor: Callable[..., Killable],
) -> None:
    run = killed(supervisor, "speech")
    assert names(run.path) == READABLE
    assert not run.memory.exists()
    (folder,) = dead_runs()
    assert not folder.recordings.is_symlink()
    assert folder.recording("sink").read_bytes() == b"sink" * 1000
    assert abandoned_runs() == []


def test_of_a_run_that_is_killed_before_it_was_described_nothing_is_left(
    supervisor: Callable[..., Killable], temporary: Path
) -> None:
    killed(supervisor, "speech", "undescribed")
    assert names(temporary) == set()


def test_a_run_counts_as_live_until_the_janitor_is_done(supervisor: Callable[..., Killable]) -> None:
    run = supervisor("speech")
    os.kill(run.janitor_pid, signal.SIGSTOP)
    run.kill()
    sweep()
    assert run.memory.exists()
    assert [folder.path for folder in live_runs()] == [run.path]
    os.kill(run.janitor_pid, signal.SIGCONT)
    until(lambda: [folder.path for folder in dead_runs()] == [run.path])


def test_the_next_start_does_what_a_janitor_that_was_killed_would_have_done(
    supervisor: Callable[..., Killable],
) -> None:
    run = supervisor("speech")
    run.kill(janitor=True)
    assert run.memory.exists()
    assert abandoned_runs() == [run.path]
    OwnedRunFolder("other").close()
    assert names(run.path) == READABLE
    assert not run.memory.exists()
    assert abandoned_runs() == []


def test_of_each_pipeline_the_newest_dead_run_is_kept_and_no_other(supervisor: Callable[..., Killable]) -> None:
    older, newer, other = (killed(supervisor, name) for name in ("speech", "speech", "host"))
    sweep()
    assert not older.path.exists()
    assert [folder.path for folder in dead_runs()] == [newer.path, other.path]


def test_memory_is_cleared_of_runs_whose_folder_has_gone(supervisor: Callable[..., Killable]) -> None:
    run = supervisor("speech")
    run.kill(janitor=True)
    shutil.rmtree(run.path)
    sweep()
    assert not run.memory.exists()


def test_a_run_is_found_by_its_pipeline_its_folder_or_a_path_and_a_live_one_first(
    supervisor: Callable[..., Killable],
) -> None:
    live = supervisor("speech")
    dead, other = killed(supervisor, "speech"), killed(supervisor, "host")
    assert find_run().path == live.path
    assert find_run("speech").path == live.path
    assert find_run("host").path == other.path
    assert find_run(dead.path.name).path == dead.path
    assert find_run(str(dead.path)).path == dead.path


def test_who_asks_for_a_run_that_is_not_there_is_told_what_is(supervisor: Callable[..., Killable]) -> None:
    with pytest.raises(UsageError, match="there is none"):
        find_run()
    dead = killed(supervisor, "speech")
    with pytest.raises(UsageError, match=re.escape(f"there are: {dead.path.name} (killed)")):
        find_run("speach")


def test_strangers_in_the_folder_of_runs_are_no_runs() -> None:
    (base_folder() / "mine").mkdir()
    assert live_runs() == []
    assert dead_runs() == []
    assert not RunFolder(base_folder() / "mine").is_live()
