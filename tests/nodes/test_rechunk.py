"""Chunks of one size from chunks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.preprocess import Rechunk
from streamflow import InputError, Message
from streamflow.testing import drive

RATE_HZ = 1000.0
sizes_of_chunks = st.lists(st.integers(0, 17), min_size=1, max_size=12)


def messages(signal, sizes, *, first=0, axis=-1, stream="s"):
    """`signal` in chunks, numbered and timed as a source does: event time of the newest sample, 1 ms each."""
    start = 0
    for size in sizes:
        chunk = np.take(signal, range(start, start + size), axis=axis)
        start += size
        newest = first + start - 1
        yield Message(
            {"array": chunk}, stream, 0, newest * 1_000_000, {"sample": first + start - size, "time_s": newest / 1000}
        )


@given(sizes_of_chunks, st.integers(1, 9), st.booleans())
def test_where_the_incoming_chunks_ended_is_invisible(sizes, size, channels):
    total = sum(sizes)
    signal = np.arange(2 * total, dtype=np.float32).reshape(2, total) if channels else np.arange(total, dtype=np.int16)
    sent = drive(Rechunk(size), messages(signal, sizes), rates={"samples": RATE_HZ}).messages
    whole = total // size
    assert len(sent) == whole
    for index, message in enumerate(sent):
        first, newest = index * size, (index + 1) * size - 1
        np.testing.assert_array_equal(message.array, signal[..., first : newest + 1])
        assert message.array.dtype == signal.dtype
        assert message.attributes["sample"] == first
        assert message.event_time_ns == newest * 1_000_000
        assert message.attributes["time_s"] == pytest.approx(newest / 1000)


@given(sizes_of_chunks, st.integers(1, 9))
def test_with_pad_no_sample_is_lost_and_valid_counts_the_real_ones(sizes, size):
    signal = np.arange(1, sum(sizes) + 1)
    sent = drive(Rechunk(size, pad=True), messages(signal, sizes), rates={"samples": RATE_HZ}).messages
    real = [message.array[: message.attributes.get("valid", size)] for message in sent]
    assert np.concatenate([*real, []]).tolist() == signal.tolist()
    assert all(message.array.shape == (size,) for message in sent)
    if sent:
        assert sent[-1].event_time_ns == (len(signal) - 1) * 1_000_000
        assert not sent[-1].array[len(real[-1]) :].any()


def test_rows_of_a_table_are_chunked_along_their_first_axis():
    table = np.arange(20).reshape(10, 2)
    sent = drive(Rechunk(4, axis=0), messages(table, [3, 3, 4], axis=0))
    np.testing.assert_array_equal(np.concatenate(sent.arrays), table[:8])
    assert str(Rechunk(4, axis=0).chunks.type) == "any[4, ...]"
    assert str(Rechunk(4, axis=-2).samples.type) == "any[..., time, last1]"


def test_behind_a_gap_a_chunk_starts_afresh_and_tells_how_many_samples_are_missing():
    signal = np.arange(100)
    before = messages(signal[:10], [5, 5])
    behind = messages(signal[17:37], [10, 10], first=17)
    sent = drive(Rechunk(4), [*before, *behind], rates={"samples": RATE_HZ}).messages
    assert [int(message.array[0]) for message in sent] == [0, 4, 17, 21, 25, 29, 33]
    assert [message.attributes["sample"] for message in sent] == [0, 4, 17, 21, 25, 29, 33]
    assert [message.attributes.get("gap", 0) for message in sent] == [0, 0, 7, 0, 0, 0, 0]
    assert [message.event_time_ns for message in sent] == [(m.attributes["sample"] + 3) * 1_000_000 for m in sent]


def test_a_gap_that_came_from_upstream_is_not_told_of_every_chunk_again():
    first = Message({"array": np.arange(8)}, "s", 0, 0, {"sample": 0})
    later = Message({"array": np.arange(8)}, "s", 1, 0, {"sample": 20, "gap": 12})
    sent = drive(Rechunk(4), [first, later]).messages
    assert [message.attributes.get("gap", 0) for message in sent] == [0, 0, 12, 0]


def test_a_recording_that_starts_again_is_a_negative_gap():
    sent = drive(Rechunk(2), [*messages(np.arange(4), [4]), *messages(np.arange(2), [2])]).messages
    assert [message.attributes.get("gap", 0) for message in sent] == [0, 0, -4]


def test_padding_of_a_source_s_last_chunk_is_not_taken_for_signal():
    last = Message({"array": np.array([5, 6, 0, 0])}, "s", 1, 0, {"sample": 4, "valid": 2})
    sent = drive(Rechunk(3), [*messages(np.arange(1, 5), [4]), last]).messages
    assert [message.array.tolist() for message in sent] == [[1, 2, 3], [4, 5, 6]]
    assert sent[1].attributes["valid"] == 3


def test_streams_do_not_mix():
    a, b = np.arange(6), np.arange(100, 106)
    mixed = [m for pair in zip(messages(a, [3, 3]), messages(b, [3, 3], stream="t"), strict=True) for m in pair]
    sent = drive(Rechunk(2), mixed).messages
    assert [m.array.tolist() for m in sent if m.stream == "s"] == [[0, 1], [2, 3], [4, 5]]
    assert [m.array.tolist() for m in sent if m.stream == "t"] == [[100, 101], [102, 103], [104, 105]]


def test_without_a_rate_event_times_lie_between_those_of_the_chunks():
    chunks = [Message({"array": np.zeros(4)}, "s", i, t) for i, t in enumerate((1000, 1400, 2200))]
    sent = drive(Rechunk(3), chunks).messages
    assert [message.event_time_ns for message in sent] == [1000, 1200, 1600, 2200]


def test_a_chunk_is_no_view_of_what_was_received():
    chunk = np.arange(3)
    message = Message({"array": chunk})
    node = Rechunk(4)
    drive(node, [message])
    chunk[:] = 9
    assert node._streams[""].cutter.push(np.array([3]))[0].array.tolist() == [0, 1, 2, 3]


def test_a_size_below_one_is_refused():
    with pytest.raises(InputError, match=r"Rechunk\(size\): 0, expected at least 1 sample"):
        Rechunk(0)
