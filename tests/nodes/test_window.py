"""Windows that may overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.preprocess import Window
from streamflow import InputError, Message
from streamflow.testing import drive


def messages(signal, sizes, first=0):
    start = 0
    for size in sizes:
        newest = first + start + size - 1
        yield Message(
            {"array": signal[..., start : start + size]}, "s", 0, newest * 1_000_000, {"sample": first + start}
        )
        start += size


@given(st.lists(st.integers(0, 17), min_size=1, max_size=12), st.integers(1, 9), st.integers(1, 14))
def test_windows_are_those_of_the_whole_signal_wherever_the_chunks_ended(sizes, size, hop):
    total = sum(sizes)
    signal = np.arange(2 * total, dtype=np.float64).reshape(2, total)
    sent = drive(Window(size, hop), messages(signal, sizes), rates={"samples": 1000.0}).messages
    starts = range(0, total - size + 1, hop)
    assert [message.attributes["sample"] for message in sent] == list(starts)
    for start, message in zip(starts, sent, strict=True):
        np.testing.assert_array_equal(message.array, signal[:, start : start + size])
        assert message.event_time_ns == (start + size - 1) * 1_000_000


def test_without_a_hop_windows_do_not_overlap():
    assert [array.tolist() for array in drive(Window(2), [np.arange(5)]).arrays] == [[0, 1], [2, 3]]


def test_no_window_spans_a_gap():
    signal = np.arange(30)
    chunks = [*messages(signal[:8], [8]), *messages(signal[13:21], [3, 5], first=13)]
    sent = drive(Window(4, 2), chunks).messages
    assert [message.attributes["sample"] for message in sent] == [0, 2, 4, 13, 15, 17]
    assert [message.attributes.get("gap", 0) for message in sent] == [0, 0, 0, 5, 0, 0]
    assert all(np.all(np.diff(message.array) == 1) for message in sent)


def test_the_port_tells_the_size_and_keeps_the_rate():
    windows = Window(256, 64).windows
    assert str(windows.type) == "any[..., 256]"
    assert windows.rate_from == "samples"


def test_a_hop_below_one_is_refused():
    with pytest.raises(InputError, match=r"Window\(hop\): 0, expected at least 1 sample"):
        Window(4, 0)
