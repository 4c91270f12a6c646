"""Messages through memory that two have mapped: in order, whole, whatever their size, and never more than fits."""

from __future__ import annotations

import multiprocessing
import os
import select
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import PoolError
from streamflow.memory import ring
from streamflow.memory.ring import HEAD_SIZE, RingReader, RingWriter, make_ring

CONTENT = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_ring(tmp_path / "r", CONTENT)
    return tmp_path / "r"


@pytest.fixture
def ends(path: Path) -> Iterator[tuple[RingWriter, RingReader]]:
    writer, reader = RingWriter(path), RingReader(path)
    yield writer, reader
    writer.close()
    reader.close()


def whole(message: list[bytes | memoryview] | None) -> list[bytes] | None:
    return None if message is None else [bytes(frame) for frame in message]


def test_what_is_written_is_read_once_and_in_order(ends: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ends
    assert not reader.has_arrival()
    writer.write([b"one"])
    writer.write([b"two", b"", b"three"])
    assert reader.has_arrival()
    assert whole(reader.read()) == [b"one"]
    assert whole(reader.read()) == [b"two", b"", b"three"]
    assert reader.read() is None
    assert not reader.has_arrival()


def test_what_does_not_fit_waits_and_stays_in_order(ends: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ends
    messages = [bytes([number]) * 500 for number in range(20)]
    for message in messages:
        writer.write([message])
    assert writer.has_waiting
    found = []
    for _ in messages:
        found.append(whole(reader.read()))
        writer.flush()
    assert found == [[message] for message in messages]
    assert not writer.has_waiting


def test_a_message_may_be_larger_than_the_memory(ends: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ends
    large = bytes(range(256)) * 100
    writer.write([b"head", memoryview(large), b"tail"])
    found = reader.read()
    while found is None:
        assert writer.flush()
        found = reader.read()
    assert whole(found) == [b"head", large, b"tail"]


frames = st.lists(st.integers(0, 3 * CONTENT // 2), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(frames, st.just("read"), st.just("flush")), max_size=60))
def test_whoever_is_faster_every_message_arrives_as_it_was(actions: list[list[int] | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r"
        make_ring(path, CONTENT)
        writer, reader = RingWriter(path), RingReader(path)
        sent: list[list[bytes]] = []
        found: list[list[bytes]] = []

        def read() -> None:
            message = whole(reader.read())
            if message is not None:
                found.append(message)

        for action in actions:
            if action == "read":
                read()
            elif action == "flush":
                writer.flush()
            else:
                assert isinstance(action, list)
                message = [bytes([len(sent) % 256, size % 256]) * (size // 2) for size in action]
                sent.append(message)
                writer.write(message)
        while len(found) < len(sent):
            writer.flush()
            before = len(found), writer.has_waiting
            read()
            assert before != (len(found), False), "what was sent has gone"
        assert found == sent
        writer.close()
        reader.close()


def _count(path: Path, count: int) -> None:
    writer = RingWriter(path)
    for number in range(count):
        writer.write([number.to_bytes(8, "little") * (1 + number % 40)])
        while writer.has_waiting:
            writer.flush()
    writer.close()


def test_between_processes_nothing_is_torn_lost_or_twice_there(path: Path) -> None:
    count = 30_000
    process = multiprocessing.get_context("spawn").Process(target=_count, args=(path, count))
    process.start()
    reader = RingReader(path)
    for number in range(count):
        while (message := reader.read()) is None:
            assert process.is_alive() or reader.has_arrival()
        assert whole(message) == [number.to_bytes(8, "little") * (1 + number % 40)]
    process.join()
    reader.close()
    assert process.exitcode == 0


def test_a_reader_is_woken_once_for_each_time_it_sleeps(ends: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ends
    writer.write([b"awake"])
    assert not writer.must_wake()
    assert not reader.falls_asleep(), "something is there"
    reader.wakes_up()
    reader.read()
    assert reader.falls_asleep()
    for expected in (True, False, False):
        writer.write([b"asleep"])
        assert writer.must_wake() == expected
    reader.wakes_up()
    writer.write([b"awake again"])
    assert not writer.must_wake()
    while reader.read():
        pass
    assert reader.falls_asleep()
    reader.wakes_up()
    reader.wakes_up()
    assert not writer.must_wake()
    assert reader.falls_asleep()
    assert writer.must_wake()


@pytest.mark.skipif(not ring._IS_X86, reason="elsewhere every message wakes its reader")
def test_no_wake_is_missed_between_two_processes(path: Path) -> None:
    """A writer that always sees the reader asleep or the reader that always sees what was written: never neither."""
    count = 20_000
    bell, rings = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_write_and_wake, args=(path, count, rings))
    process.start()
    reader = RingReader(path)
    try:
        received = slept = 0
        while received < count:
            while (message := reader.read()) is not None:
                assert int.from_bytes(message[0], "little") == received
                received += 1
            if received < count and reader.falls_asleep():
                slept += 1
                assert select.select([bell], [], [], 20)[0], f"asleep after {received}, and not woken"
                os.read(bell, 64)
            reader.wakes_up()
        assert slept > 10
    finally:
        process.kill()
        process.join()
        reader.close()
        os.close(bell)
        os.close(rings)


def _write_and_wake(path: Path, count: int, rings: int) -> None:
    writer = RingWriter(path)
    random = Random(3)
    for number in range(count):
        writer.write([number.to_bytes(8, "little")])
        while writer.has_waiting:
            writer.flush()
        if writer.must_wake():
            os.write(rings, b"1")
        for _ in range(random.randrange(200)):
            pass
    writer.close()


def test_with_fences_as_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "fence", ring._locked_fence())
    writer, reader = RingWriter(path), RingReader(path)
    for number in range(100):
        writer.write([b"x" * number])
        assert whole(reader.read()) == [b"x" * number]
    writer.close()
    reader.close()


def test_a_file_that_is_no_ring_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"x" * 100, bytes(HEAD_SIZE), bytes(HEAD_SIZE + CONTENT)):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(PoolError):
            RingReader(tmp_path / "bad")
    with pytest.raises(PoolError):
        RingReader(tmp_path / "none")


def test_what_no_writer_can_have_written_is_told(path: Path) -> None:
    writer, reader = RingWriter(path), RingReader(path)
    writer.write([b"x"])
    with path.open("r+b") as file:
        file.seek(HEAD_SIZE)
        file.write((CONTENT << 8 | 3).to_bytes(8, "little"))
    with pytest.raises(PoolError, match="a piece of 4,096 bytes at 0"):
        reader.read()
    writer.close()
    reader.close()


def test_a_ring_for_which_there_is_no_room_is_told(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="cannot be made"):
        make_ring(tmp_path / "nowhere" / "r", CONTENT)
