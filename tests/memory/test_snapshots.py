"""Snapshots on disk: the newest whole one is gone on from, whatever happened to the writer, the disk, or the host."""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.gaps import NO_SEQ, NO_TIME_NS
from streamflow.errors import StateError
from streamflow.memory import snapshots as snapshots_module
from streamflow.memory.snapshots import MAGIC, Numbering, Snapshot, Snapshots, read_snapshot, restored
from streamflow.memory.state_view import StateView, StreamState
from streamflow.memory.states import States
from tests.marks import from_sources
from tests.memory.stepping import LARGE, LAYOUT, TIME_NS, filled, is_whole, step, step_for_ever

COUNT = 4
STAGE = "enhance"


@pytest.fixture
def states(tmp_path: Path) -> Iterator[States]:
    """Of streams a and b, in slots 0 and 2, stepped with 5 and 6."""
    states = States(tmp_path / "x.states", LAYOUT, COUNT)
    states.assign(0, "a")
    states.assign(2, "b")
    step(states, [0, 2], [5, 6])
    yield states
    states.close()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "here"


@pytest.fixture
def snapshots(disk: Path) -> Snapshots:
    return Snapshots(disk, STAGE)


def newest(snapshots: Snapshots) -> Snapshot:
    found = snapshots.newest()
    assert found.snapshot is not None
    return found.snapshot


def seqs(snapshot: Snapshot) -> dict[str, int]:
    assert all(is_whole(state) for state in snapshot.streams)
    return {state.stream: state.seq for state in snapshot.streams}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_found_again(states: States, snapshots: Snapshots) -> None:
    states.assign(3, "just seen")
    snapshots.write(states, {"boot": "one", "offset_ns": 12})
    found = newest(snapshots)
    assert seqs(found) == {"a": 5, "b": 6, "just seen": NO_SEQ}
    assert found.tensors == LAYOUT
    assert found.about == {"boot": "one", "offset_ns": 12}


def test_where_nothing_was_written_there_is_nothing_to_go_on_from(snapshots: Snapshots, disk: Path) -> None:
    found = snapshots.newest()
    assert (found.snapshot, found.skipped) == (None, ())
    assert not disk.exists()


def test_the_newest_two_stay(states: States, snapshots: Snapshots, disk: Path) -> None:
    for seq in range(10, 15):
        step(states, [0], [seq])
        snapshots.write(states)
    assert names(disk) == [f"{STAGE}.{number:012}.snapshot" for number in (4, 5)]
    assert seqs(newest(snapshots))["a"] == 14


def test_the_next_run_numbers_its_snapshots_on(states: States, snapshots: Snapshots, disk: Path) -> None:
    snapshots.write(states)
    snapshots.write(states)
    later = Snapshots(disk, STAGE)
    later.newest()
    later.write(states)
    assert names(disk) == [f"{STAGE}.{number:012}.snapshot" for number in (2, 3)]


def test_stages_share_a_folder(states: States, snapshots: Snapshots, disk: Path) -> None:
    others = [Snapshots(disk, name) for name in ("enhance.2", "enhanc", "denoise")]
    for one in [snapshots, *others]:
        for _ in range(3):
            one.write(states)
    (disk / "notes.txt").write_text("a user's own")
    assert len(names(disk)) == 2 * 4 + 1
    assert newest(snapshots).path.name == f"{STAGE}.{3:012}.snapshot"


@pytest.mark.parametrize("size", [0, 7, 20, 200, -1])
def test_a_torn_one_is_skipped_and_told(states: States, snapshots: Snapshots, size: int) -> None:
    snapshots.write(states)
    step(states, [0], [7])
    path = snapshots.write(states)
    path.write_bytes(path.read_bytes()[:size])
    found = snapshots.newest()
    assert found.snapshot is not None
    assert seqs(found.snapshot)["a"] == 5
    (error,) = found.skipped
    assert error.subject == str(path)
    assert error.expected == f"a whole snapshot of {STAGE}"


def with_checksum(content: bytes) -> bytes:
    return content + struct.pack("<I", zlib.crc32(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a user's own, which happens to have such a name", "no snapshot"),
        (with_checksum(MAGIC + struct.pack("<II", 2, 0)), "version 2, expected version 1"),
        (with_checksum(MAGIC + struct.pack("<II", 1, 4) + b"{{}}"), "cannot be understood"),
        (with_checksum(MAGIC + struct.pack("<II", 1, 4) + b"[[]]"), "cannot be understood"),
        (with_checksum(MAGIC + struct.pack("<II", 1, 999)), "cannot be understood"),
    ],
)
def test_a_foreign_one_is_skipped_and_told(
    states: States, snapshots: Snapshots, disk: Path, content: bytes, message: str
) -> None:
    snapshots.write(states)
    (disk / f"{STAGE}.{9:012}.snapshot").write_bytes(content)
    found = snapshots.newest()
    assert found.snapshot is not None
    assert message in str(found.skipped[0])
    snapshots.write(states)
    assert newest(snapshots).path.name == f"{STAGE}.{10:012}.snapshot"


def test_one_that_was_renamed_is_not_taken_for_another_stages(states: States, snapshots: Snapshots, disk: Path) -> None:
    path = Snapshots(disk, "denoise").write(states)
    path.rename(disk / f"{STAGE}.{1:012}.snapshot")
    found = snapshots.newest()
    assert found.snapshot is None
    assert "a snapshot of denoise" in str(found.skipped[0])


def test_what_is_not_whole_pushes_no_whole_one_out(states: States, snapshots: Snapshots, disk: Path) -> None:
    first = snapshots.write(states)
    (disk / f"{STAGE}.{2:012}.snapshot").write_bytes(b"torn")
    (disk / f"{STAGE}.{3:012}.snapshot").write_bytes(b"torn")
    later = Snapshots(disk, STAGE)
    assert newest(later).path == first
    assert len(later.newest().skipped) == 2
    second = later.write(states)
    assert first.exists()
    third = later.write(states)
    assert names(disk) == [second.name, third.name]


@given(at=st.integers(0, 10_000), change=st.integers(1, 255))
def test_whatever_byte_the_disk_has_changed_it_is_not_gone_on_from(at: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        states = States(Path(folder) / "x", LAYOUT, 2)
        states.assign(0, "a")
        path = Snapshots(Path(folder), STAGE).write(states)
        states.close()
        content = bytearray(path.read_bytes())
        content[at % len(content)] ^= change
        path.write_bytes(content)
        with pytest.raises(StateError):
            read_snapshot(path, STAGE)


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_any_bytes_are_a_snapshot_or_an_error(head: bytes, rest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(with_checksum(MAGIC + struct.pack("<II", 1, len(head)) + head + rest))
        with pytest.raises(StateError):
            read_snapshot(path, STAGE)


@given(st.one_of(st.integers(0, 800), st.sampled_from([188, 376])))
def test_only_whole_records_are_streams(size: int) -> None:
    layout = json.dumps([["h", "<f4", [3], 0]])
    head = json.dumps({"stage": STAGE, "layout": layout, "about": {}}).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(with_checksum(MAGIC + struct.pack("<II", 1, len(head)) + head + bytes(size)))
        record_size = 8 + 120 + 6 * 8 + 3 * 4
        if size % record_size:
            with pytest.raises(StateError, match="cannot be understood"):
                read_snapshot(path, STAGE)
        else:
            assert bool(read_snapshot(path, STAGE).streams) == bool(size)


@pytest.mark.parametrize(("where", "call", "nth"), [(os, "fsync", 0), (os, "fsync", 1), (Path, "rename", 0)])
def test_wherever_its_writer_fails_the_one_before_is_there(
    states: States,
    snapshots: Snapshots,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    call: str,
    nth: int,
) -> None:
    before = snapshots.write(states)
    step(states, [0], [9])
    real, count = getattr(where, call), 0

    def failing(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count > nth:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(where, call, failing)
        with pytest.raises(StateError, match=r"cannot be written \(No space left on device\)"):
            snapshots.write(states)
    assert before.exists()
    assert seqs(newest(snapshots))["a"] in (5, 9)
    assert not list(disk.glob("*.partial"))
    assert seqs(newest_after_writing(snapshots, states))["a"] == 9


def newest_after_writing(snapshots: Snapshots, states: States) -> Snapshot:
    snapshots.write(states)
    return newest(snapshots)


def test_nothing_has_its_name_before_all_of_it_is_on_the_disk(
    states: States, snapshots: Snapshots, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def watched_rename(path: Path, target: Path) -> Path:
        done.append(f"{path.name} is {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    path = snapshots.write(states)
    partial = f"{STAGE}.snapshot.partial"
    assert done == [disk.parent.name, partial, f"{partial} is {path.name}", disk.name]


def test_a_folder_that_cannot_be_written_is_told(states: States, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="Not a directory"):
        Snapshots(tmp_path / "file" / "kept", STAGE).write(states)
    with pytest.raises(StateError, match="Not a directory"):
        Snapshots(tmp_path / "file", STAGE).newest()


def test_while_its_owner_commits_each_stream_is_as_after_one_of_its_steps(tmp_path: Path, disk: Path) -> None:
    """Another process writes snapshots, and at last the owner is killed."""
    path = tmp_path / "y.states"
    States(path, LARGE, COUNT).close()
    process = multiprocessing.get_context("fork").Process(target=step_for_ever, args=(path, LARGE, COUNT))
    process.start()
    view, snapshots = StateView(path), Snapshots(disk, STAGE)
    last = dict.fromkeys((f"stream {slot}" for slot in range(COUNT)), NO_SEQ)
    end_s = time.monotonic() + 30
    while any((state := view.read(slot)) is None or state.seq < 1 for slot in range(COUNT)):  # that may take a while
        assert time.monotonic() < end_s, "it takes no step"
        time.sleep(0.001)
    for number in range(40):
        if number == 30:
            process.kill()
            process.join()
        snapshots.write(view)
        found = seqs(newest(snapshots))
        assert all(last[stream] <= seq for stream, seq in found.items())
        last.update(found)
    view.close()
    assert min(last.values()) > 0


def test_a_stream_that_moved_while_it_was_written_is_there_once_as_it_was_last(
    states: States, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = StateView.read

    def moving(self: StateView, slot: int) -> StreamState | None:
        found = read(self, slot)
        if slot == 0:
            states.assign(0, "c")
            states.assign(3, "a")
            step(states, [3], [0])
        return found

    monkeypatch.setattr(StateView, "read", moving)
    snapshots.write(states)
    assert seqs(newest(snapshots)) == {"a": 0, "b": 6}


def test_the_next_run_goes_on_from_a_snapshot(states: States, snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.write(states)
    path = tmp_path / "next.states"
    again = restored(path, LAYOUT, 3, newest(snapshots), Numbering.GOES_ON)
    assert dict(again.streams()).keys() == {"a", "b"}
    for stream, slot in again.streams():
        found = again.read(slot)
        assert found is not None
        assert is_whole(found)
        assert found.seq == {"a": 5, "b": 6}[stream]
    again.close()
    assert names(path.parent) == ["kept", "next.states", "x.states"]


def test_where_numbers_and_clocks_begin_anew_the_state_stays_and_its_time_is_shifted(
    states: States, snapshots: Snapshots, tmp_path: Path
) -> None:
    states.assign(3, "just seen")
    snapshots.write(states)
    path = tmp_path / "next.states"
    again = restored(path, LAYOUT, 3, newest(snapshots), Numbering.BEGINS_ANEW, shift_ns=-TIME_NS)
    slots = dict(again.streams())
    assert again.last(slots["a"]) == (NO_SEQ, 5)
    assert again.last(slots["just seen"]) == (NO_SEQ, NO_TIME_NS)
    assert np.array_equal(again.gather([slots["a"]])[0], filled(LAYOUT[0], 5))
    again.close()


def test_a_later_life_of_the_same_run_has_its_own_states_and_not_the_snapshots(
    states: States, snapshots: Snapshots, tmp_path: Path
) -> None:
    snapshots.write(states)
    path = tmp_path / "next.states"
    first = restored(path, LAYOUT, 3, newest(snapshots), Numbering.GOES_ON)
    slots = dict(first.streams())
    step(first, [slots["a"]], [8])
    first.release(slots["b"])
    second = restored(path, LAYOUT, 3, newest(snapshots), Numbering.GOES_ON)
    assert second.streams() == [("a", slots["a"])]
    assert second.last(slots["a"])[0] == 8
    first.close()
    second.close()


@from_sources
def test_a_life_that_dies_while_it_takes_over_leaves_that_to_the_next(
    states: States, snapshots: Snapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is the newest snapshot then: of the one that was half taken over there is nothing left."""
    states.assign(3, "c")
    snapshots.write(states)
    path = tmp_path / "next.states"

    class Killed(BaseException):
        pass

    class Dying(States):
        def restore(self, slot: int, state: StreamState) -> None:
            if slot == 2:
                raise Killed
            super().restore(slot, state)

    with monkeypatch.context() as patched:
        patched.setattr(snapshots_module, "States", Dying)
        with pytest.raises(Killed):
            restored(path, LAYOUT, 3, newest(snapshots), Numbering.GOES_ON)
    assert not path.exists()
    states.release(0)
    snapshots.write(states)
    again = restored(path, LAYOUT, 3, newest(snapshots), Numbering.GOES_ON)
    assert dict(again.streams()).keys() == {"b", "c"}
    again.close()


def test_without_a_snapshot_a_run_begins_anew(tmp_path: Path) -> None:
    states = restored(tmp_path / "next.states", LAYOUT, 3, None, Numbering.GOES_ON)
    assert states.streams() == []
    states.close()


def test_a_snapshot_of_another_layout_is_refused_and_not_passed_over(
    states: States, snapshots: Snapshots, tmp_path: Path
) -> None:
    """To begin with zeros where a user said to go on would be a wrong result later."""
    snapshots.write(states)
    other = (replace(LAYOUT[0], shape=(2, 6)), LAYOUT[1])
    with pytest.raises(StateError, match=r"expected h: float32\[2, 6\], batch axis 1; name another folder"):
        restored(tmp_path / "next.states", other, 3, newest(snapshots), Numbering.GOES_ON)


def test_more_streams_than_slots_are_refused(states: States, snapshots: Snapshots, tmp_path: Path) -> None:
    snapshots.write(states)
    with pytest.raises(StateError, match="2 streams, expected at most 1"):
        restored(tmp_path / "next.states", LAYOUT, 1, newest(snapshots), Numbering.GOES_ON)
    assert not (tmp_path / "next.states").exists()
