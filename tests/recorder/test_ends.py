"""A recorder over the lives of its stage, beside readers, and after any end."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.verdict import Kind
from streamflow.errors import RecorderError
from streamflow.recorder.layout import (
    GENERATION,
    NEXT_SEQ,
    PROCESSED,
    READY_NS,
)
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Rows
from streamflow.recorder.writer import Recorder
from tests.recorder.made import SHAPE, fill


def test_a_new_life_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "infer"
    first = Recorder.create(path, SHAPE)
    fill(first, 3)
    first.service.record(70)
    first.service.record(90)
    first.set(NEXT_SEQ, 5)
    first.begin(0, 3, 1, 1, 1, 1, 1, 0)
    kept = first.outputs[0].accept(((0, 2),), 3)
    first.close()
    recording = Recording.open(path)
    second = Recorder.attach(path, SHAPE)
    assert (second.get(GENERATION), second.get(NEXT_SEQ), second.head) == (1, 5, 3)
    assert recording.in_service() is not None
    assert [datum.serial for datum in recording.live(0)] == [3]
    assert second.outputs[0].accept(((0, 9),), 4) != kept
    second.reset_live()
    assert recording.in_service() is None
    assert recording.live(0) == []
    fill(second, 2)
    second.service.record(10)
    assert recording.tail(0).records["serial"].tolist() == [1, 2, 3, 4, 5]
    service = recording.histogram("service")
    assert (service.min, service.max, service.sum, service.counts) == (10, 90, 170, {10: 1, 70: 1, 90: 1})
    second.set(READY_NS, 8)
    assert recording.counter("ready_ns") == 8


def test_another_shape_cannot_go_on_with_the_file(tmp_path: Path) -> None:
    Recorder.create(tmp_path / "infer", SHAPE).close()
    with pytest.raises(RecorderError, match="the pipeline has changed"):
        Recorder.attach(tmp_path / "infer", dataclasses.replace(SHAPE, ring_capacity=32))
    with pytest.raises(RecorderError, match="cannot be opened"):
        Recorder.attach(tmp_path / "other", SHAPE)


def test_the_file_is_the_owners_alone_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "infer"
    Recorder.create(path, SHAPE).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RecorderError, match="cannot be made"):
        Recorder.create(path, SHAPE)


def test_what_was_read_stays_when_both_sides_have_closed(tmp_path: Path) -> None:
    recorder = Recorder.create(tmp_path / "infer", SHAPE)
    recording = Recording.open(tmp_path / "infer")
    fill(recorder, 2)
    rows = recording.tail(0).records
    recorder.close()
    recording.close()
    assert rows["seq"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="released"):
        recorder.add(PROCESSED)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"paths": ("p",) * 64, "sink_paths": ()}, "64 paths, expected at most 63"),
        ({"ring_capacity": 24}, "a ring of 24 records, expected a power of two"),
        ({"sink_paths": (2,)}, "expected different numbers of the 2 paths"),
        ({"in_edges": (("e", 0),)}, "room for 0 data on edge e"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change: dict[str, Any], found: str) -> None:
    with pytest.raises(RecorderError, match=found):
        dataclasses.replace(SHAPE, **change)


WRITER = """
import sys
from pathlib import Path
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder
recorder = Recorder.create(Path(sys.argv[1]), Shape("fast", 0, out_edges=(("e", 4),), ring_capacity=1024))
edge = recorder.outputs[0]
seq = 0
while True:
    recorder.begin(0, seq, seq, seq, seq, seq, seq, 1)
    slot = edge.accept(((0, seq),), seq)
    edge.transmitted(slot, seq, 0)
    recorder.finish(3, 0, seq + 7, seq, 0, 1, seq)
    edge.release(slot)
    seq += 1
    if seq == 1000:
        print("ready", flush=True)
"""


@pytest.fixture
def a_fast_writer(tmp_path: Path) -> Callable[[], tuple[subprocess.Popen[str], Path]]:
    def start() -> tuple[subprocess.Popen[str], Path]:
        path = tmp_path / "fast"
        path.unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child, path

    return start


def all_written(rows: Rows) -> bool:
    """Whether each row is one that the fast writer writes."""
    seq = rows["serial"].astype(np.int64) - 1
    same = ["seq", "event_time_ns", "sent_ns", "enqueued_ns", "started_ns", "device_done_ns", "deadline_ns", "mask"]
    return all((rows[name] == seq).all() for name in same) and bool((rows["ended_ns"] == seq + 7).all())


def test_a_reader_beside_a_fast_writer_gets_only_what_was_written_and_misses_nothing_unsaid(
    a_fast_writer: Callable[[], tuple[subprocess.Popen[str], Path]],
) -> None:
    child, path = a_fast_writer()
    try:
        recording = Recording.open(path)
        cursor = read_count = lost_count = 0
        while recording.head < 100_000:
            tail = recording.tail(cursor)
            cursor, lost_count, read_count = tail.cursor, lost_count + tail.lost_count, read_count + len(tail.records)
            assert all_written(tail.records)
            served = recording.in_service()
            assert served is None or served.seq == served.started_ns == served.deadline_ns
            assert all(datum.origins == ((0, datum.serial),) for datum in recording.live(0))
            assert recording.histogram("service").max == 7
        assert cursor == read_count + lost_count
        assert read_count > 0
    finally:
        child.kill()
        child.communicate()


def test_everything_up_to_head_is_whole_after_kill_9(
    a_fast_writer: Callable[[], tuple[subprocess.Popen[str], Path]],
) -> None:
    for _ in range(5):
        child, path = a_fast_writer()
        recording = Recording.open(path)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        head = recording.head
        tail = recording.tail(0)
        assert tail.records["serial"].tolist() == list(range(max(head - 1022, 1), head + 1))
        assert all_written(tail.records)
        assert 0 <= head - recording.counter("processed") <= 1
        assert 0 <= recording.counter("processed") - recording.histogram("service").count <= 1
        served, live = recording.in_service(), recording.live(0)
        # The datum that it worked on is not yet recorded; the one that it had out is that or the one before.
        assert served is None or served.seq == head
        assert [datum.serial for datum in live] in ([], [head], [head - 1])
        second = Recorder.attach(path, recording.shape)
        second.reset_live()
        assert second.note(Kind.LOST, 0, 0, head, head, 0, 0, 0, 0) == head + 1
        assert recording.in_service() is None
        assert recording.live(0) == []


@given(st.integers(1, 300), st.integers(1, 5))
@settings(max_examples=10)
def test_a_reader_in_another_thread_sees_only_whole_records(count: int, bits: int) -> None:
    recorder = Recorder.in_memory(dataclasses.replace(SHAPE, ring_capacity=1 << bits))
    recording = Recording.over(recorder.buffer)

    def write() -> None:
        for seq in range(count):
            recorder.begin(0, seq, seq, seq, seq, seq, seq, 1)
            recorder.finish(3, 0, seq + 7, seq, 0, 1, seq)

    thread = threading.Thread(target=write)
    thread.start()
    cursor = read_count = lost_count = 0
    while cursor < count:
        tail = recording.tail(cursor)
        cursor, lost_count, read_count = tail.cursor, lost_count + tail.lost_count, read_count + len(tail.records)
        assert all_written(tail.records)
    thread.join()
    assert read_count + lost_count == count
