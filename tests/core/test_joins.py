"""The exact join: what comes together, and what is given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins import ExactJoin


class Datum(NamedTuple):
    event_time_ns: int


def join(rows: dict[str, Sequence[int]]) -> tuple[list[int], dict[str, int]]:
    """Event times that came together when each input is taken from whenever it is wanted; and the unmatched."""
    exact: ExactJoin[Datum] = ExactJoin(list(rows))
    waiting = {name: list(times) for name, times in rows.items()}
    together = []
    while all(waiting[name] for name in exact.wants()):
        for name in exact.wants():
            exact.offer(name, Datum(waiting[name].pop(0)))
        while (row := exact.ready()) is not None:
            (time,) = {datum.event_time_ns for datum in row.values()}
            assert list(row) == list(rows)
            together.append(time)
    exact.give_up()
    for name, times in waiting.items():
        exact.unmatched[name] += len(times)
    return together, {name: exact.unmatched[name] for name in rows}


def test_data_of_one_event_time_come_together() -> None:
    assert join({"left": [1, 2, 3], "right": [1, 2, 3]}) == ([1, 2, 3], {"left": 0, "right": 0})


def test_a_datum_whose_partner_was_dropped_is_given_up_and_counted() -> None:
    assert join({"left": [1, 2, 3, 4], "right": [1, 4]}) == ([1, 4], {"left": 2, "right": 0})


def test_nothing_comes_together_when_no_event_time_is_shared() -> None:
    assert join({"left": [1, 3], "right": [2, 4]}) == ([], {"left": 2, "right": 2})


def test_only_inputs_of_which_nothing_waits_are_wanted() -> None:
    exact: ExactJoin[Datum] = ExactJoin(["left", "right"])
    assert exact.wants() == ["left", "right"]
    exact.offer("left", Datum(1))
    assert exact.wants() == ["right"]
    assert exact.ready() is None


ASCENDING = st.lists(st.integers(0, 30), unique=True).map(sorted)


@given(st.lists(ASCENDING, min_size=2, max_size=4))
def test_exactly_the_event_times_of_every_input_come_together_and_the_rest_is_counted(
    inputs: list[list[int]],
) -> None:
    together, unmatched = join({f"input_{index}": times for index, times in enumerate(inputs)})
    assert together == sorted(set.intersection(*map(set, inputs)))
    assert list(unmatched.values()) == [len(times) - len(together) for times in inputs]
