"""The approximate join: ROS 2's sets on its documented cases and against a search of all sets; and its time-out."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins.contract import OnMissing
from streamflow.joins import Approximate
from tests.core.joins.schedules import NAMES, Arrival, Datum, run
from tools.claims.approximate_reference import CASES, arrivals_of, best_sets


@pytest.mark.parametrize("case", CASES)
def test_the_documented_cases_of_ros_give_the_same_sets(case: str) -> None:
    text, settings, expected = CASES[case]
    inputs = sorted({word[0] for word in text.split()})
    outcome = run(Approximate(**settings), inputs, arrivals_of(text), ends=False)
    assert outcome.singles == [tuple(10 * time for time in row) for row in expected]


ASCENDING = st.lists(st.integers(0, 60), unique=True, max_size=8).map(sorted)


@given(
    st.lists(ASCENDING, min_size=2, max_size=4),
    st.lists(st.integers(0, 3), max_size=40),
    st.sampled_from([Fraction(0), Fraction(1, 8), Fraction(1, 2)]),
    st.none() | st.integers(1, 60),
)
def test_the_sets_are_those_that_a_search_of_all_sets_finds_in_any_order_of_arrival(
    inputs: list[list[int]], turns: list[int], penalty: Fraction, max_skew: int | None
) -> None:
    times = {"abcd"[index]: each for index, each in enumerate(inputs)}
    waiting = {name: list(each) for name, each in times.items()}
    arrivals = []
    for name in [*("abcd"[turn] for turn in turns), *(name for name, each in times.items() for _ in each)]:
        if waiting.get(name):
            arrivals.append(Arrival(0, Datum(name, waiting[name].pop(0))))
    join = Approximate(age_penalty=float(penalty), max_skew=max_skew, queue_size=50)
    expected, _ = best_sets(times, penalty, max_skew)
    proved = run(join, list(times), arrivals, ends=False).singles
    assert proved == expected[: len(proved)]
    assert run(join, list(times), arrivals).singles == expected


@given(st.data())
def test_with_bounds_that_are_true_the_sets_are_the_same_and_come_no_later(data: st.DataObject) -> None:
    gap = data.draw(st.integers(1, 10))
    arrivals = []
    for name in NAMES:
        time = data.draw(st.integers(0, 20))
        for _ in range(data.draw(st.integers(0, 8))):
            arrivals.append(Arrival(time, Datum(name, time)))
            time += gap + data.draw(st.integers(0, 10))
    arrivals.sort()
    plain = Approximate(queue_size=50)
    bounded = Approximate(queue_size=50, lower_bounds=dict.fromkeys(NAMES, gap))
    without, with_bounds = run(plain, NAMES, arrivals), run(bounded, NAMES, arrivals)
    assert with_bounds.singles == without.singles
    assert all(sooner <= later for (sooner, _), (later, _) in zip(with_bounds.rows, without.rows, strict=True))


def test_a_candidate_that_waits_for_proof_goes_when_its_first_datum_has_waited_long_enough() -> None:
    arrivals = [Arrival(0, Datum("a", 0)), Arrival(3, Datum("b", 1)), Arrival(90, Datum("a", 90))]
    outcome = run(Approximate(max_wait=20), ("a", "b"), arrivals, ends=False)
    ((at_ns, row),) = outcome.rows
    assert at_ns == 20
    assert row.timed_out
    assert outcome.singles == [(0, 1)]


def test_a_datum_without_partner_is_left_out_when_its_wait_is_over() -> None:
    outcome = run(Approximate(max_wait=20), ("a", "b"), [Arrival(0, Datum("a", 0)), Arrival(30, Datum("b", 30))])
    assert outcome.rows == []
    assert outcome.reasons == {"a": {"timed_out": 1}, "b": {"unmatched": 1}}


def test_while_an_input_is_silent_the_others_go_on_without_it_and_it_comes_back() -> None:
    arrivals = [Arrival(t, Datum(name, t)) for t in range(0, 400, 10) for name in "ab"]
    arrivals += [Arrival(t + 1, Datum("c", t + 1)) for t in range(0, 400, 10) if not 100 <= t < 300]
    join = Approximate(max_wait=25, max_skew=8, idle_timeout=40, on_missing=OnMissing.PARTIAL)
    outcome = run(join, NAMES, sorted(arrivals))
    assert [row[:2] for row in outcome.singles] == [(t, t) for t in range(0, 400, 10)]
    with_c = [row[0] for row in outcome.singles if row[2] >= 0]
    assert with_c == [t for t in range(0, 400, 10) if not 100 <= t <= 300], "at 300 it was not back yet"
    silent = [(at_ns, row.time_ns) for at_ns, row in outcome.rows if 150 <= row.time_ns < 300]
    assert all(at_ns - time_ns <= 10 for at_ns, time_ns in silent), "an idle input keeps nobody waiting"
