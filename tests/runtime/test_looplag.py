"""When a loop stood still: what is known of it, and what is taken to have been."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.timebase import ms
from streamflow.runtime.stage.looplag import BEAT_NS, stall_began_ns


def test_a_short_lag_explains_no_more_before_its_beat_was_due_than_after() -> None:
    assert stall_began_ns(0, BEAT_NS, 5 * ms) == BEAT_NS - 5 * ms


def test_a_long_lag_began_when_the_loop_was_last_seen_to_run() -> None:
    assert stall_began_ns(7 * ms, BEAT_NS, 60 * ms) == 7 * ms


@given(st.integers(0, 10**12), st.integers(0, BEAT_NS), st.integers(0, 10**9))
def test_a_stall_begins_between_the_last_sign_of_life_and_the_beat_that_was_due(
    alive_ns: int, until_due_ns: int, lag_ns: int
) -> None:
    due_ns = alive_ns + until_due_ns
    assert alive_ns <= stall_began_ns(alive_ns, due_ns, lag_ns) <= due_ns
