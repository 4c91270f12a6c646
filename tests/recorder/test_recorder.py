"""What a stage writes down can be read at any time, by anyone: records, counters, histograms."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.verdict import Kind
from streamflow.errors import RecorderError
from streamflow.recorder.layout import (
    BEAT_NS,
    COUNTERS,
    MARKED,
    PROCESSED,
    RECORD,
    SHED,
    TAKEN,
    Layout,
)
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record, to_records
from streamflow.recorder.writer import Recorder
from tests.recorder.made import OFFSETS, SHAPE, fill


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
    assert not recording.blocked_on
    recorder.outputs[0].block(True)
    assert recording.blocked_on == recording.shape.out_edges[0][0]


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
