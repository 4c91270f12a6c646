"""What every join promises, whatever comes: each datum is accounted for, bounds hold, and nobody waits too long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins.contract import Join, OnMissing, Reason
from streamflow.joins import Approximate, Blend, Exact, Interpolate, Latest, Nearest, Settled, Window
from tests.core.joins.schedules import NAMES, Arrival, bounds, clocked, disorderly_schedules, run, schedules

POLICIES: dict[str, st.SearchStrategy[Any]] = {
    "exact": st.builds(lambda common: Exact(**common), bounds()),
    "nearest": st.builds(lambda common, clock: Nearest(trigger="b", **common, **clock), bounds(), clocked()),
    "approximate": st.builds(
        lambda common, clock, penalty, bound: Approximate(
            **common, **clock, age_penalty=penalty, lower_bounds={"a": bound}
        ),
        bounds(),
        clocked(),
        st.sampled_from([0, 0.1, 0.5]),
        st.integers(0, 5),
    ),
    "latest": st.builds(lambda common: Latest(trigger="b", **common), bounds()),
    "latest by the clock": st.builds(lambda common, every: Latest(every=every, **common), bounds(), st.integers(1, 30)),
    "interpolate": st.builds(
        lambda common, clock, extra, kind: Interpolate(
            trigger="b", blend={"a": kind}, max_extrapolate=extra, **common, **clock
        ),
        bounds(),
        clocked(),
        st.integers(0, 20),
        st.sampled_from(list(Blend)),
    ),
    "interpolate on a grid": st.builds(
        lambda common, clock, every: Interpolate(every=every, **common, **clock),
        bounds(),
        clocked(),
        st.integers(1, 30),
    ),
    "window": st.builds(
        lambda common, clock, span: Window(trigger="b", span=span, **common, **clock),
        bounds(),
        clocked(),
        st.integers(1, 40),
    ),
    "windows": st.builds(
        lambda common, clock, span, every: Window(span=span, every=every, **common, **clock),
        bounds(),
        clocked(),
        st.integers(1, 40),
        st.none() | st.integers(1, 40),
    ),
    "settled": st.builds(lambda common, clock: Settled(**common, **clock), bounds(), clocked()),
    "settled at a trigger": st.builds(
        lambda common, clock: Settled(trigger="b", **common, **clock), bounds(), clocked()
    ),
}


@pytest.mark.parametrize("policy", POLICIES)
@given(data=st.data())
def test_each_datum_is_accounted_for_once_and_skew_and_age_keep_their_bounds(policy: str, data: st.DataObject) -> None:
    join = data.draw(POLICIES[policy])
    run(join, NAMES, data.draw(schedules() | disorderly_schedules()))


@pytest.mark.parametrize("policy", ["nearest", "latest", "interpolate", "window", "settled at a trigger"])
@given(data=st.data())
def test_no_row_of_a_trigger_comes_later_than_its_wait_allows(policy: str, data: st.DataObject) -> None:
    join: Join = data.draw(POLICIES[policy].filter(lambda join: join.max_wait is not None))
    arrivals = data.draw(schedules() | disorderly_schedules())
    arrived_ns = {arrival.datum: arrival.at_ns for arrival in arrivals}
    for at_ns, row in run(join, NAMES, arrivals).rows:
        assert join.max_wait is not None
        assert at_ns <= arrived_ns[row.fresh["b"]] + join.max_wait


@given(data=st.data())
def test_no_set_of_the_approximate_join_is_late_by_more_than_its_wait(data: st.DataObject) -> None:
    join: Join = data.draw(POLICIES["approximate"].filter(lambda join: join.max_wait is not None))
    arrivals = data.draw(schedules() | disorderly_schedules())
    arrived_ns = {arrival.datum: arrival.at_ns for arrival in arrivals}
    for at_ns, row in run(join, NAMES, arrivals).rows:
        assert join.max_wait is not None
        assert at_ns <= min(arrived_ns[item] for item in row.fresh.values()) + join.max_wait


@pytest.mark.parametrize("policy", ["settled", "settled at a trigger", "window", "windows"])
@given(data=st.data())
def test_what_settles_is_the_same_in_any_order_of_arrival(policy: str, data: st.DataObject) -> None:
    strategy = POLICIES[policy].filter(
        lambda join: join.max_wait is None and join.idle_timeout is None and join.queue_size >= 12
    )
    join = data.draw(strategy)
    arrivals = data.draw(schedules())
    shuffled = _merged([[one for one in arrivals if one.datum.input == name] for name in NAMES], data)
    ours, theirs = run(join, NAMES, arrivals), run(join, NAMES, shuffled)
    assert ours.times == theirs.times
    assert [row.time_ns for _, row in ours.rows] == [row.time_ns for _, row in theirs.rows]
    assert sorted(ours.left_out, key=repr) == sorted(theirs.left_out, key=repr)


def _merged(lanes: list[list[Arrival]], data: st.DataObject) -> list[Arrival]:
    """One after another from any lane, each lane in its order, all at once."""
    turns = data.draw(st.lists(st.integers(0, len(lanes) - 1), max_size=40))
    merged = [lanes[turn].pop(0) for turn in turns if lanes[turn]]
    return [Arrival(0, arrival.datum) for arrival in [*merged, *(one for lane in lanes for one in lane)]]


@pytest.mark.parametrize("policy", POLICIES)
@given(data=st.data())
def test_rows_of_orderly_inputs_come_in_the_order_of_event_time(policy: str, data: st.DataObject) -> None:
    strategy = POLICIES[policy]
    if policy == "approximate":  # a row without some may be older than the newest of the one before
        strategy = strategy.filter(lambda join: join.on_missing is OnMissing.SKIP)
    outcome = run(data.draw(strategy), NAMES, data.draw(schedules()))
    late = [one for one in outcome.left_out if one.reason is Reason.LATE]
    times = [row.time_ns for _, row in outcome.rows]
    assert late or times == sorted(times)
