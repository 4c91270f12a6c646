"""When a recorded datum is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow import ms, s
from streamflow.core.pacing import Pacing


def test_recorded_time_counts_from_the_start_of_the_run() -> None:
    assert Pacing(start_ns=7 * s, speed=1.0).due_ns(250 * ms) == 7 * s + 250 * ms


def test_twice_the_speed_is_due_in_half_the_time() -> None:
    assert Pacing(start_ns=0, speed=2.0).due_ns(3 * s) == 3 * s // 2


def test_irregular_stamps_are_replayed_as_they_are() -> None:
    recorded = [0, 3 * ms, 100 * ms, 101 * ms]
    assert [Pacing(s, 0.5).due_ns(stamp) - s for stamp in recorded] == [2 * stamp for stamp in recorded]


@given(
    st.lists(st.integers(0, 10**15), min_size=2, max_size=20).map(sorted),
    st.floats(0.01, 1000, allow_nan=False),
)
def test_what_was_recorded_later_is_never_due_earlier(recorded: list[int], speed: float) -> None:
    due = [Pacing(s, speed).due_ns(stamp) for stamp in recorded]
    assert due == sorted(due)
    assert due[0] >= s
