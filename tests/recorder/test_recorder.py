"""What a stage writes down can be read at any time, by anyone, and after any end."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.verdict import Kind
from streamflow.errors import RecorderError
from streamflow.recorder.layout import (
    BEAT_NS,
    COUNTERS,
    EDGE_SHIFT,
    GENERATION,
    HEAD_MASK,
    IN_HAND,
    MARKED,
    NEXT_SEQ,
    NUMBER_BITS,
    PROCESSED,
    READY_NS,
    RECORD,
    SHED,
    SHED_BITS,
    SHED_MASK,
    STRANGER_COUNT,
    TAKEN,
    Layout,
)
from streamflow.recorder.reader import Live, Recording
from streamflow.recorder.records import Record, Rows, to_records
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder

SHAPE = Shape(
    stage="infer",
    stage_index=1,
    in_edges=(("mic.out -> infer.x", 4), ("cam.out -> infer.y", 2)),
    out_edges=(("infer.out -> show.x", 5),),
    streams=("mic", "infer", "show"),
    paths=("alert", "level"),
    sink_paths=(1,),
    ring_capacity=16,
)

OFFSETS = {"serial": 0, "serial_again": RECORD.size - 8}


def fill(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        seq = recorder.head
        recorder.record(Kind.RUN, 0, 0, seq, seq, seq, seq, seq * 10, seq * 10 + 5, 0, 0, 0, 0, 1, seq * 3)


@pytest.fixture(params=["file", "memory"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Recorder, Recording]:
    if request.param == "memory":
        recorder = Recorder.in_memory(SHAPE)
        return recorder, Recording.over(recorder.buffer)
    return Recorder.create(tmp_path / "infer", SHAPE), Recording.open(tmp_path / "infer")


def test_a_reader_needs_nothing_but_the_file(made: tuple[Recorder, Recording]) -> None:
    assert made[1].shape == SHAPE
    assert made[1].stage == "infer"


def test_a_record_is_read_as_it_was_written(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    assert recorder.record(Kind.DEGRADED, 5, 2, 7, -8, 9, 10, 11, 12, 13, 14, 15, -1, 17, 1 << 62) == 1
    expected = Record(1, Kind.DEGRADED, 5, 17, 2, -1, 7, -8, 9, 10, 11, 14, 12, 13, 15, 1 << 62)
    tail = recording.tail(0)
    assert [Record.from_row(row) for row in tail.records] == [expected]
    assert (tail.cursor, tail.lost_count) == (1, 0)
    assert recording.tail_records(0) == ([expected], 1, 0)
    assert recording.tail(tail.cursor).records.size == 0


def test_a_note_has_one_instant_and_no_other_times(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.note(Kind.SHED, 1, 0, 4, 100, 150, 200, 2, 3)
    (note,) = recording.tail_records(0).records
    assert note == Record(1, Kind.SHED, 1, 1, 0, 2, 4, 100, 0, 0, 150, 200, 150, 0, 0, 3)


def test_what_was_overwritten_is_counted_as_lost_to_the_reader(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    fill(recorder, 3)
    cursor = recording.tail(0).cursor
    fill(recorder, 40)
    tail = recording.tail(cursor)
    # One less than the ring holds: the next record may already be half written over the oldest.
    assert [record.serial for record in to_records(tail.records)] == list(range(29, 44))
    assert tail.lost_count == 25
    assert recording.tail_records(cursor) == (to_records(tail.records), 43, 25)


@pytest.mark.parametrize("end", ["serial", "serial_again"])
def test_a_half_written_record_is_skipped(made: tuple[Recorder, Recording], end: str) -> None:
    recorder, recording = made
    fill(recorder, 5)
    at = Layout.of(SHAPE).ring + 3 * RECORD.size + OFFSETS[end]
    recorder.buffer[at : at + 8] = bytes(8)
    assert [record.serial for record in recording.tail_records(0).records] == [1, 2, 4, 5]
    assert recording.tail(0).records["serial"].tolist() == [1, 2, 4, 5]
    assert recording.tail(0).lost_count == 1


def test_records_are_found_by_datum_and_by_time(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    fill(recorder, 10)
    recorder.note(Kind.SPLIT, 0, 0, 6, 6, 62, 0, 0, 1)
    assert [(record.serial, record.kind) for record in recording.find(0, 6)] == [(7, Kind.RUN), (11, Kind.SPLIT)]
    assert recording.find(1, 6) == []
    assert [record.serial for record in recording.between(45, 62)] == [5, 6, 7, 11]
    assert recording.between(46, 49) == []


def test_a_datum_in_service_is_seen_until_it_is_done(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    assert recording.in_service() is None
    recorder.begin(0, 7, 100, 110, 120, 130, 200, 2)
    assert recording.in_service() == Record(0, Kind.RUN, 0, 1, 0, 2, 7, 100, 110, 120, 130, 200, 0, 0, 0, 0)
    recorder.finish(Kind.RUN, 1, 190, 180, 20, 1, 2)
    assert recording.in_service() is None
    assert recording.tail_records(0).records == [
        Record(1, Kind.RUN, 1, 1, 0, 2, 7, 100, 110, 120, 130, 200, 190, 180, 20, 2)
    ]


def test_finish_counts_the_datum_and_its_time_without_what_it_was_blocked(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.begin(0, 7, 100, 110, 120, 130, 200, 2)
    recorder.finish(Kind.RUN, 0, 190, 0, 20, 1, 0)
    assert recording.counter("processed") == 1
    assert recording.counter("busy_ns") == 40
    service = recording.histogram("service")
    assert (service.min, service.max, service.sum, service.counts) == (40, 40, 40, {40: 1})


def test_a_datum_that_is_recorded_is_not_in_service_also_when_death_came_before_idle(
    made: tuple[Recorder, Recording],
) -> None:
    recorder, recording = made
    recorder.begin(0, 7, 100, 110, 120, 130, 200, 2)
    recorder.note(Kind.SPLIT, 0, 0, 7, 100, 130, 200, 2, 1)
    assert recording.in_service() is not None
    recorder.record(Kind.RUN, 0, 0, 7, 100, 110, 120, 130, 190, 0, 200, 0, 2, 1, 0)
    recorder.note(Kind.SHED, 0, 0, 8, 100, 191, 200, 2, 1)
    assert recording.in_service() is None


def test_counters_have_names(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.add(PROCESSED)
    recorder.add(SHED, 3)
    recorder.set(BEAT_NS, 1 << 60)
    expected = dict.fromkeys(COUNTERS, 0) | {"processed": 1, "shed": 3, "beat_ns": 1 << 60, "pid": os.getpid()}
    assert recording.counters() == expected
    assert recording.counter("shed") == 3


def test_histograms_are_named_by_path_and_edge(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.latency[1].record(1000)
    recorder.transport[1].record(2000)
    assert recording.histogram("latency:level").max == 1000
    assert recording.histogram("transport:cam.out -> infer.y").max == 2000
    assert recording.histogram("transport:mic.out -> infer.x").count == 0
    with pytest.raises(RecorderError, match="no histogram latency:alert, expected one of service, latency:level"):
        recording.histogram("latency:alert")


def test_the_receiver_of_an_edge_says_what_it_took_and_dropped(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.inputs[0]
    edge.arrived(500, 1)
    edge.arrived(600, 2)
    edge.add(TAKEN)
    edge.drop("drop_oldest")
    edge.drop("too_old", 2)
    edge.hold(1)
    edge.peak(2)
    edge.peak(1)
    edge.set(STRANGER_COUNT, 4)
    counts = recording.inputs()[0]
    assert counts.name == "mic.out -> infer.x"
    assert (counts.received, counts.taken, counts.held, counts.depth_peak) == (2, 1, 1, 2)
    assert (counts.last_arrival_ns, counts.stranger_count) == (600, 4)
    assert counts.dropped == {"drop_oldest": 1, "too_old": 2}
    assert recording.inputs()[1].received == 0


def test_the_receiver_remembers_what_it_removed_two_windows_back(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.inputs[0]
    for number in range(11):
        edge.removed(number)
    assert recording.removed(0, 0) == set(range(3, 11))
    edge.set_generation(3)
    edge.removed(0)
    assert recording.removed(0, 3) == {0}
    assert recording.removed(0, 0) == set(range(4, 11))
    assert recording.removed(0, 2) == recording.removed(1, 0) == set()


def test_what_was_removed_out_of_order_does_not_hide_what_was_removed_just_before(
    made: tuple[Recorder, Recording],
) -> None:
    """By deadline one datum may wait while many others pass it."""
    recorder, recording = made
    edge = recorder.inputs[0]
    for number in [*range(1, 17), 0]:
        edge.removed(number)
    assert recording.removed(0, 0) == {*range(10, 17), 0}


def test_the_sender_of_an_edge_says_what_it_offered_and_dropped(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.outputs[0]
    edge.offered(700)
    edge.block(True)
    edge.drop("latest")
    (counts,) = recording.outputs()
    assert (counts.name, counts.offered, counts.last_offered_ns) == ("infer.out -> show.x", 1, 700)
    assert (counts.is_blocked, counts.dropped, counts.lost, counts.transmitted) == (True, {"latest": 1}, 0, 0)
    edge.block(False)
    assert not recording.outputs()[0].is_blocked


def test_the_sender_of_an_edge_says_which_data_are_live(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    edge = recorder.outputs[0]
    slot = edge.accept(((0, 7),), 12)
    edge.accept(((0, 8), (2, -1)), 13)
    assert recording.live(0) == [
        Live(False, -1, 0, ((0, 7),), 1, 12),
        Live(False, -1, 0, ((0, 8), (2, -1)), 2, 13),
    ]
    edge.transmitted(slot, 5, 2)
    assert recording.live(0)[0] == Live(True, 5, 2, ((0, 7),), 1, 12)
    edge.release(slot)
    assert [datum.serial for datum in recording.live(0)] == [13]


def test_the_sender_of_an_edge_says_what_a_handling_has_sent_also_when_it_is_done_with(
    made: tuple[Recorder, Recording],
) -> None:
    recorder, recording = made
    edge = recorder.outputs[0]
    slots = [edge.accept(((0, 7),), 12, nth) for nth in range(3)]
    edge.transmitted(slots[0], 5, 2)
    edge.release(slots[0])
    assert [(datum.serial, datum.nth) for datum in recording.live(0)] == [(12, 1), (12, 2)]
    assert recording.live(0, with_free=True)[0] == Live(False, 5, 2, (), 0, 12, 0, is_free=True)
    assert [datum.nth for datum in recording.live(0, with_free=True)] == [0, 1, 2]
    edge.accept(((0, 7),), 12, 3)
    assert sorted(datum.nth for datum in recording.live(0, with_free=True)) == [1, 2, 3], "its slot was used again"
    recorder.reset_live()
    assert recording.live(0, with_free=True) == []


HAND_SHAPE = dataclasses.replace(SHAPE, out_edges=(*SHAPE.out_edges, (IN_HAND, 1)))


@settings(deadline=None, max_examples=30)
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=12))
def test_to_enter_and_to_leave_at_once_stores_what_the_steps_do(steps: list[tuple[int, bool]]) -> None:
    """The same bytes at the end, whichever way each datum went, but for the turn of the place in hand."""
    at_once, by_steps = (Recorder.in_memory(HAND_SHAPE) for _ in range(2))
    hand = by_steps.outputs[1]
    numbers = [0, 0]
    for seq, (edge, is_sent) in enumerate(steps):
        number, sent_ns, arrived_ns, started_ns = numbers[edge], 1000 + seq, 2000 + seq * 3, 3000 + seq * 3
        numbers[edge] += 1
        served = (0, seq, 500 + seq, sent_ns, arrived_ns, started_ns, 9000)
        at_once.enter(edge, number, *served, 0)
        own = by_steps.inputs[edge]
        own.arrived(arrived_ns, 1)
        by_steps.transport[edge].record(arrived_ns - sent_ns)
        since = (by_steps.head & HEAD_MASK) << SHED_BITS | by_steps.get(SHED) & SHED_MASK
        slot = hand.accept([(0, seq)], own.get(TAKEN), since, edge << EDGE_SHIFT | own.place(number))
        own.taken(0)
        by_steps.begin(*served, 0)
        own.removed(number)
        if is_sent:
            left = at_once.outputs[0].leave(0, seq, at_once.turn, 0, 7 << NUMBER_BITS | seq, started_ns)
            accepted = by_steps.outputs[0].accept([(0, seq)], by_steps.turn, 0)
            by_steps.outputs[0].offered(started_ns)
            by_steps.outputs[0].sent(accepted, seq, 7)
            assert left == accepted
            assert Recording.over(at_once.buffer).live(0) == Recording.over(by_steps.buffer).live(0)
        assert Recording.over(at_once.buffer).live(1)[0].origins == ((0, seq),)
        for recorder in (at_once, by_steps):
            recorder.finish(Kind.RUN, 0, started_ns + 5, 0, 0, 1, 1)
        at_once.put_down()
        hand.release(slot)
        if is_sent:
            at_once.outputs[0].release(left)
            by_steps.outputs[0].release(accepted)
    assert bytes(at_once.buffer) == bytes(by_steps.buffer)


def test_more_data_of_one_handling_than_can_be_counted_are_the_most_that_can(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.outputs[0].accept(((0, 7),), (1 << 48) - 1, 1 << 20)
    assert [(datum.serial, datum.nth) for datum in recording.live(0)] == [((1 << 48) - 1, (1 << 16) - 1)]


def test_of_many_origins_eight_are_kept_and_all_are_counted(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.outputs[0].accept([(0, seq) for seq in range(11)], 1)
    (live,) = recording.live(0)
    assert live.origins == tuple((0, seq) for seq in range(8))
    assert live.origin_count == 11


def test_more_live_data_than_the_edge_can_have_are_an_error(made: tuple[Recorder, Recording]) -> None:
    edge = made[0].outputs[0]
    slots = [edge.accept(((0, seq),), seq) for seq in range(5)]
    assert len(set(slots)) == 5
    with pytest.raises(RecorderError, match="5 data are live, expected room for one more"):
        edge.accept(((0, 5),), 5)
    edge.release(slots[2])
    assert edge.accept(((0, 5),), 5) == slots[2]


@given(st.lists(st.sampled_from(["accept", "transmit", "release"]), max_size=60))
@settings(max_examples=30)
def test_live_data_are_those_accepted_and_not_released(steps: list[str]) -> None:
    recorder = Recorder.in_memory(SHAPE)
    edge, recording = recorder.outputs[0], Recording.over(recorder.buffer)
    held: dict[int, int] = {}
    out: dict[int, int] = {}
    for serial, step in enumerate(steps):
        if step == "accept" and len(held) + len(out) < 5:
            held[edge.accept(((0, serial),), serial)] = serial
        elif step == "transmit" and held:
            slot, datum = held.popitem()
            edge.transmitted(slot, datum, 1)
            out[slot] = datum
        elif step == "release" and out:
            edge.release(out.popitem()[0])
        live = recording.live(0)
        assert sorted(datum.serial for datum in live if not datum.is_out) == sorted(held.values())
        assert sorted(datum.number for datum in live if datum.is_out) == sorted(out.values())
        assert all(datum.origins == ((0, datum.serial),) for datum in live)


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
def test_a_shape_that_cannot_be_is_refused(change: dict[str, object], found: str) -> None:
    with pytest.raises(RecorderError, match=found):
        dataclasses.replace(SHAPE, **change)  # type: ignore[arg-type]


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


def piece_of(record: Record) -> tuple[int, ...]:
    """A record's fields that the accounts need, as `Recording.marked` has them."""
    return (
        *(record.serial, record.kind, record.flags, record.stream, record.seq, record.event_time_ns),
        *(record.ended_ns, record.device_done_ns, record.mask, record.serial),
    )


def test_the_marked_records_are_those_of_the_tail_that_have_a_mask(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    assert recording.marked(0) == ([], 0, 0)
    for seq in range(40):
        recorder.record(Kind.RUN, 0, 0, seq, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, seq % 3)
        if seq in (4, 20, 39):
            cursor = max(seq - 9, 0)
            tail = recording.tail_records(cursor)
            marked = recording.marked(cursor)
            assert marked.records == [piece_of(record) for record in tail.records if record.mask]
            assert (marked.cursor, marked.lost_count) == (tail.cursor, tail.lost_count)
    assert recording.marked(0).lost_count == recording.tail_records(0).lost_count > 0


def test_a_piece_has_every_field_from_its_place_in_the_record(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.record(Kind.DEGRADED, 5, 2, 7, -8, 9, 10, 11, 12, 13, 14, 15, -1, 17, 1 << 62)
    recorder.begin(0, 7, 100, 110, 120, 130, 200, 2)
    recorder.finish(Kind.RUN, 1, 190, 180, 20, 1, 2)
    assert recording.marked(0).records == [piece_of(record) for record in recording.tail_records(0).records]


@pytest.mark.parametrize("end", ["serial", "serial_again"])
def test_a_half_written_record_is_no_piece(made: tuple[Recorder, Recording], end: str) -> None:
    recorder, recording = made
    fill(recorder, 5)
    at = Layout.of(SHAPE).ring + 3 * RECORD.size + OFFSETS[end]
    recorder.buffer[at : at + 8] = bytes(8)
    assert [piece[0] for piece in recording.marked(0).records] == [2, 4, 5], "the first has no mask"


def test_records_without_a_mask_move_the_cursor_and_are_not_looked_at(made: tuple[Recorder, Recording]) -> None:
    recorder, recording = made
    recorder.note(Kind.SPLIT, 0, 0, 1, 1, 1, 0, 0, 1)
    cursor = recording.marked(0).cursor
    for seq in range(40):
        recorder.begin(0, seq, 1, 1, 1, 1, 1, 0)
        recorder.finish(Kind.RUN, 0, 2, 0, 0, 1, 0)
    assert recording.word(MARKED) == 1
    assert recording.marked(cursor) == ([], 41, 0), "nothing that the accounts need was overwritten"
    recorder.finish(Kind.RUN, 0, 2, 0, 0, 1, 6)
    assert recording.word(MARKED) == 42
    assert [piece[0] for piece in recording.marked(41).records] == [42]


def test_a_mark_that_was_published_before_its_record_hides_nothing(tmp_path: Path) -> None:
    """The owner was killed between the two, and its next life wrote something else under the same serial."""
    recorder = Recorder.create(tmp_path / "infer", SHAPE)
    fill(recorder, 3)
    recorder.set(MARKED, 4)
    recorder.close()
    recording = Recording.open(tmp_path / "infer")
    assert recording.marked(3) == ([], 3, 0)
    second = Recorder.attach(tmp_path / "infer", SHAPE)
    assert second.get(MARKED) == 4
    second.note(Kind.SPLIT, 0, 0, 1, 1, 1, 0, 0, 0)
    assert recording.marked(3) == ([], 4, 0)
    second.note(Kind.SPLIT, 0, 0, 1, 1, 1, 0, 0, 1)
    assert [piece[0] for piece in recording.marked(4).records] == [5]


@given(
    st.lists(st.tuples(st.integers(0, 30_000_000), st.integers(0, 30_000_000)), max_size=30),
    st.integers(0, 10**9),
    st.integers(0, 10**8),
)
@settings(max_examples=50)
def test_records_of_a_time_are_found_among_those_that_overlap(
    works: list[tuple[int, int]], start_ns: int, length_ns: int
) -> None:
    """A stage works on one datum after the other, with pauses."""
    recorder = Recorder.in_memory(SHAPE)
    recording = Recording.over(recorder.buffer)
    now_ns = 0
    for seq, (pause_ns, work_ns) in enumerate(works):
        began_ns, now_ns = now_ns + pause_ns, now_ns + pause_ns + work_ns
        recorder.record(Kind.RUN, 0, 0, seq, 0, 0, 0, began_ns, now_ns, 0, 0, 0, 0, 1, 0)
    kept = to_records(recording.tail(0).records)
    end_ns = start_ns + length_ns
    assert recording.between(start_ns, end_ns) == [
        record for record in kept if record.started_ns <= end_ns and record.ended_ns >= start_ns
    ]


def test_what_waits_and_what_is_blocked_is_seen_without_the_counts_of_every_edge(
    made: tuple[Recorder, Recording],
) -> None:
    recorder, recording = made
    recorder.inputs[0].arrived(1, 1)
    recorder.inputs[1].arrived(2, 1)
    recorder.inputs[0].add(TAKEN)
    recorder.inputs[1].drop("latest")
    assert recording.arrivals() == (2, 2)
    recorder.outputs[0].offered(3)
    recorder.outputs[0].offered(4)
    recorder.outputs[0].drop("drop_oldest")
    assert recording.passed_on(0) == 1
    assert not recording.is_blocked
    recorder.outputs[0].block(True)
    assert recording.is_blocked


def test_batches_are_counted_by_their_size_and_how_long_data_waited_for_them() -> None:
    recorder = Recorder.in_memory(replace(SHAPE, batch_size_max=300))
    assert recorder.batch_wait is not None
    for size in (1, 300, 300, 7):
        recorder.batched(size)
        recorder.batch_wait.record(size)
    recording = Recording.over(recorder.buffer)
    assert recording.batch_sizes() == {1: 1, 7: 1, 300: 2}
    assert recording.histogram("batch_wait").count == 4
    assert recording.histogram("service").count == 0


def test_who_works_on_one_datum_at_a_time_has_no_batches() -> None:
    recorder = Recorder.in_memory(SHAPE)
    assert recorder.batch_wait is None
    recording = Recording.over(recorder.buffer)
    assert recording.batch_sizes() == {}
    with pytest.raises(RecorderError, match="no histogram batch_wait"):
        recording.histogram("batch_wait")
