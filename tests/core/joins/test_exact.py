"""The exact join: what comes together, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins.contract import Decider, InputState, OnMissing, Reason
from streamflow.joins import Exact
from tests.core.joins.schedules import Arrival, Datum, run


def join(rows: Mapping[str, Sequence[int]], turns: Sequence[str] | None = None) -> tuple[list[int], dict[str, int]]:
    """Event times that came together, and how many of each input were left out; `turns`: whose datum comes next."""
    waiting = {name: list(times) for name, times in rows.items()}
    arrivals = []
    for name in [*(turns or ()), *(name for name, times in rows.items() for _ in times)]:
        if waiting[name]:
            arrivals.append(Arrival(0, Datum(name, waiting[name].pop(0))))
    outcome = run(Exact(), list(rows), arrivals)
    together = [times for row in outcome.times for times in set(row.values())]
    return [time for (time,) in together], {name: sum(outcome.reasons.get(name, {}).values()) for name in rows}


def test_data_of_one_event_time_come_together() -> None:
    assert join({"left": [1, 2, 3], "right": [1, 2, 3]}) == ([1, 2, 3], {"left": 0, "right": 0})


def test_a_datum_whose_partner_was_dropped_is_given_up_and_counted() -> None:
    assert join({"left": [1, 2, 3, 4], "right": [1, 4]}) == ([1, 4], {"left": 2, "right": 0})


def test_nothing_comes_together_when_no_event_time_is_shared() -> None:
    assert join({"left": [1, 3], "right": [2, 4]}) == ([], {"left": 2, "right": 2})


def test_an_input_that_waits_for_another_is_never_refused_and_beyond_the_limit_the_oldest_goes() -> None:
    arrivals = [Arrival(0, Datum("left", time)) for time in range(10)] + [Arrival(0, Datum("right", 8))]
    outcome = run(Exact(queue_size=3), ("left", "right"), arrivals)
    assert outcome.singles == [(8, 8)]
    assert outcome.reasons == {"left": {"overflow": 7, "unmatched": 2}}


def test_what_waits_for_an_input_that_has_ended_is_left_out_at_once() -> None:
    exact: Decider[Datum] = Exact().decider(["left", "right"])
    exact.end("right", 0)
    for time in (1, 2):
        exact.offer("left", Datum("left", time), 0)
        assert exact.ready(0) is None
        assert [one.reason for one in exact.left_out()] == [Reason.UNMATCHED]


def test_a_promise_that_nothing_older_comes_gives_up_what_waits_for_it() -> None:
    exact: Decider[Datum] = Exact().decider(["left", "right"])
    exact.offer("left", Datum("left", 5), 0)
    exact.advance("right", 5, 0)
    assert exact.ready(0) is None
    assert exact.left_out() == []
    exact.advance("right", 6, 0)
    assert exact.ready(0) is None
    assert [one.reason for one in exact.left_out()] == [Reason.UNMATCHED]


def test_after_its_wait_a_row_comes_without_what_is_missing_and_a_partner_that_comes_then_is_late() -> None:
    arrivals = [Arrival(0, Datum("left", 1)), Arrival(50, Datum("right", 1)), Arrival(60, Datum("left", 2))]
    outcome = run(Exact(max_wait=10, on_missing=OnMissing.PARTIAL), ("left", "right"), arrivals)
    assert outcome.singles == [(1, -1), (2, -1)]
    assert [at_ns for at_ns, _ in outcome.rows] == [10, 60]
    assert outcome.reasons == {"right": {"late": 1}}


def test_a_value_is_held_for_an_input_that_misses_one_as_long_as_it_is_young_enough() -> None:
    arrivals = [Arrival(time, Datum("left", time)) for time in range(4)] + [Arrival(0, Datum("right", 0))]
    join = Exact(max_wait=1, on_missing=OnMissing.HOLD, max_age=2)
    outcome = run(join, ("left", "right"), sorted(arrivals), ends=False)
    assert outcome.singles == [(0, 0), (1, 0), (2, 0)]
    assert [row.parts["right"].state for _, row in outcome.rows] == [InputState.USED, InputState.HELD, InputState.HELD]
    assert [row.parts["right"].age_ns for _, row in outcome.rows] == [0, 1, 2]


ASCENDING = st.lists(st.integers(0, 30), unique=True).map(sorted)


@given(st.lists(ASCENDING, min_size=2, max_size=4), st.lists(st.integers(0, 3)))
def test_in_any_order_of_arrival_exactly_the_event_times_of_every_input_come_together_and_the_rest_is_counted(
    inputs: list[list[int]], turns: list[int]
) -> None:
    rows = {f"input_{index}": times for index, times in enumerate(inputs)}
    together, unmatched = join(rows, [f"input_{turn}" for turn in turns if turn < len(inputs)])
    assert together == sorted(set.intersection(*map(set, inputs)))
    assert list(unmatched.values()) == [len(times) - len(together) for times in inputs]
