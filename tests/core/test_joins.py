"""The exact join: what comes together, and what is given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins import ExactJoin


class Datum(NamedTuple):
    event_time_ns: int


def join(rows: dict[str, Sequence[int]], turns: Sequence[str] | None = None) -> tuple[list[int], dict[str, int]]:
    """Event times that came together, and the unmatched; `turns` says from which input the next datum comes."""
    exact: ExactJoin[Datum] = ExactJoin(list(rows))
    waiting = {name: list(times) for name, times in rows.items()}
    together: list[int] = []

    def collect() -> None:
        while (row := exact.ready()) is not None:
            (time,) = {datum.event_time_ns for datum in row.values()}
            assert list(row) == list(rows)
            together.append(time)

    for name in [*(turns or ()), *(name for name, times in rows.items() for _ in times)]:
        if waiting[name]:
            exact.offer(name, Datum(waiting[name].pop(0)))
            collect()
    for name in rows:
        exact.end(name)
        collect()
    return together, {name: exact.unmatched[name] for name in rows}


def test_data_of_one_event_time_come_together() -> None:
    assert join({"left": [1, 2, 3], "right": [1, 2, 3]}) == ([1, 2, 3], {"left": 0, "right": 0})


def test_a_datum_whose_partner_was_dropped_is_given_up_and_counted() -> None:
    assert join({"left": [1, 2, 3, 4], "right": [1, 4]}) == ([1, 4], {"left": 2, "right": 0})


def test_nothing_comes_together_when_no_event_time_is_shared() -> None:
    assert join({"left": [1, 3], "right": [2, 4]}) == ([], {"left": 2, "right": 2})


def test_an_input_that_waits_for_another_is_never_refused_and_beyond_the_limit_the_oldest_goes() -> None:
    exact: ExactJoin[Datum] = ExactJoin(["left", "right"], limit=3)
    for time in range(10):
        exact.offer("left", Datum(time))
        assert exact.ready() is None
    assert exact.unmatched == {"left": 7}
    exact.offer("right", Datum(8))
    row = exact.ready()
    assert row is not None
    assert row["left"] == Datum(8)
    assert exact.unmatched == {"left": 8}


def test_what_waits_for_an_input_that_has_ended_is_given_up() -> None:
    exact: ExactJoin[Datum] = ExactJoin(["left", "right"])
    exact.offer("left", Datum(1))
    exact.end("right")
    assert exact.ready() is None
    assert exact.unmatched["left"] == 1
    exact.offer("left", Datum(2))
    assert exact.ready() is None
    assert exact.unmatched["left"] == 2


ASCENDING = st.lists(st.integers(0, 30), unique=True).map(sorted)


@given(st.lists(ASCENDING, min_size=2, max_size=4), st.lists(st.integers(0, 3)))
def test_in_any_order_of_arrival_exactly_the_event_times_of_every_input_come_together_and_the_rest_is_counted(
    inputs: list[list[int]], turns: list[int]
) -> None:
    rows = {f"input_{index}": times for index, times in enumerate(inputs)}
    together, unmatched = join(rows, [f"input_{turn}" for turn in turns if turn < len(inputs)])
    assert together == sorted(set.intersection(*map(set, inputs)))
    assert list(unmatched.values()) == [len(times) - len(together) for times in inputs]
