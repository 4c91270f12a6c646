"""The approximate join: ROS 2's sets on its documented cases and against a search of all sets; and its time-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins.contract import OnMissing
from streamflow.joins import Approximate
from tests.core.joins.schedules import NAMES, Arrival, Datum, run

CASES: Mapping[str, tuple[str, dict[str, Any], list[tuple[int, ...]]]] = {
    "equal stamps": ("a0 b0 a3 b3 a6 b6", {}, [(0, 0), (3, 3), (6, 6)]),
    "a constant shift": ("a0 b1 a3 b4 a6 b7", {}, [(0, 1), (3, 4)]),
    "one datum too many": ("a0 b1 a2 a3 b5 a6 b7", {}, [(0, 1), (6, 5)]),
    "inputs that go faster and faster": ("a0 b7 a12 b15 a17 b18", {}, [(12, 7), (17, 18)]),
    "a queue that is too small": (
        "a0 b1 b3 a4 b7 a8 a10 b11 a13 b14",
        {"queue_size": 1},
        [(4, 3), (10, 11)],
    ),
    "a queue that is just enough": (
        "a0 b1 b3 a4 b7 a8 a10 b11 a13 b14",
        {"queue_size": 2},
        [(0, 1), (4, 3), (8, 7), (10, 11)],
    ),
    "one input much faster": (
        "a0 a1 a2 a3 a4 a5 a6 a7 a8 b3 a9 a10 a11 a12 b10 a13",
        {"queue_size": 5},
        [(10, 10)],
    ),
    "two sets at once": ("a0 b1 b3 a3", {}, [(0, 1), (3, 3)]),
    "four inputs": (
        "a0 b1 c2 d3 a5 d5 b6 c6 a8 b9 c10 d11 a10 a13 b14",
        {},
        [(0, 1, 2, 3), (5, 6, 6, 5), (10, 9, 10, 11)],
    ),
    "a set that is proved early": ("a0 b1 c2 d3 a7", {}, [(0, 1, 2, 3)]),
    "a bound that proves little": ("a0 b1 a3 b4 a6 b7", {"lower_bounds": {"a": 15}}, [(0, 1), (3, 4)]),
    "a bound that proves all": ("a0 b1 a3 b4 a6 b7", {"lower_bounds": {"a": 20}}, [(0, 1), (3, 4), (6, 7)]),
}
"""What message_filters tests: data in the order in which they come, and the sets before any input ends."""


def arrivals_of(text: str, scale: int = 10) -> list[Arrival]:
    words = text.split()
    return [Arrival(0, Datum(word[0], scale * int(word[1:]), number)) for number, word in enumerate(words)]


@pytest.mark.parametrize("case", CASES)
def test_the_documented_cases_of_ros_give_the_same_sets(case: str) -> None:
    text, settings, expected = CASES[case]
    inputs = sorted({word[0] for word in text.split()})
    outcome = run(Approximate(**settings), inputs, arrivals_of(text), ends=False)
    assert outcome.singles == [tuple(10 * time for time in row) for row in expected]


def best_sets(
    times: Mapping[str, Sequence[int]], penalty: Fraction, max_skew: int | None
) -> tuple[list[tuple[int, ...]], int]:
    """By a look at all sets with the pivot: the one with the least (1 + penalty) · newest - oldest, then the next."""
    queues = {name: list(each) for name, each in times.items()}
    found = []
    while all(queues.values()):
        heads = {name: queue[0] for name, queue in queues.items()}
        first, newest = min(heads, key=heads.__getitem__), max(heads.values())
        if max_skew is not None and newest - heads[first] > max_skew:
            queues[first].pop(0)
            continue
        pivot = [name for name in heads if heads[name] == newest][-1]
        with_pivot = product(*([newest] if name == pivot else queue for name, queue in queues.items()))
        best = min(with_pivot, key=lambda each: ((1 + penalty) * max(each) - min(each), min(each), each))
        found.append(best)
        for queue, time in zip(queues.values(), best, strict=True):
            del queue[: queue.index(time) + 1]
    return found, sum(map(len, queues.values()))


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
