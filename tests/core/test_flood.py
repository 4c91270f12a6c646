"""Of many lines some are told and all are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.flood import LINES_MAX, PERIOD_NS, Flood
from streamflow.core.timebase import ms


def test_the_first_are_told_and_the_rest_is_counted_when_the_period_is_over() -> None:
    flood = Flood()
    told = [flood.admits("miss", number * ms) for number in range(LINES_MAX + 5)]
    assert told == [True] * LINES_MAX + [False] * 5
    assert flood.over(PERIOD_NS - 1) == []
    assert flood.over(PERIOD_NS) == [("miss", 5)]
    assert flood.admits("miss", PERIOD_NS)


def test_kinds_do_not_hinder_each_other() -> None:
    flood = Flood()
    for _ in range(LINES_MAX + 1):
        flood.admits("miss", 0)
    assert flood.admits("back", 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 400 * ms)), max_size=300))
def test_none_is_forgotten_and_no_period_tells_more_than_its_limit(steps: list[tuple[str, int]]) -> None:
    flood, now_ns = Flood(), 0
    told: dict[str, list[int]] = {"a": [], "b": []}
    untold = {"a": 0, "b": 0}
    for kind, pause_ns in steps:
        now_ns += pause_ns
        for ended, count in flood.over(now_ns):
            untold[ended] += count
        if flood.admits(kind, now_ns):
            told[kind].append(now_ns)
    for ended, count in flood.over(now_ns, is_last=True):
        untold[ended] += count
    for kind in "ab":
        assert len(told[kind]) + untold[kind] == sum(each == kind for each, _ in steps)
        for index, at_ns in enumerate(told[kind][2 * LINES_MAX :]):
            assert at_ns - told[kind][index] >= PERIOD_NS
