"""Waiting awake: only while it pays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.spinning import REMEMBERED, SHORT_MIN, Spinning
from streamflow.core.timebase import us

LIMIT_NS = 100 * us


def spinning(*waits_us: int) -> Spinning:
    found = Spinning(LIMIT_NS)
    for wait_us in waits_us:
        found.waited(wait_us * us)
    return found


def test_at_first_nobody_spins() -> None:
    assert not spinning().pays
    assert not spinning(10).pays


def test_who_is_often_served_within_the_limit_spins() -> None:
    assert spinning(10, 100).pays
    assert spinning(10, 100, 5000, 5000, 5000, 5000, 5000, 5000).pays


def test_who_is_idle_sleeps_at_once() -> None:
    assert not spinning(*[10] * 20, *[5000] * (REMEMBERED - 1)).pays
    assert not spinning(*[101] * 20).pays


@given(st.lists(st.integers(0, 300), max_size=200))
def test_what_is_spun_in_vain_is_bounded_by_what_was_short(waits_us: list[int]) -> None:
    decider, in_vain, short = Spinning(LIMIT_NS), 0, 0
    for wait_us in waits_us:
        if decider.pays and wait_us > 100:
            in_vain += 1
        short += wait_us <= 100
        decider.waited(wait_us * us)
    assert in_vain <= short * REMEMBERED // SHORT_MIN
