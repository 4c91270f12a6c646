"""How many waited, from when each came and went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.depth import depths

WAITS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50)).map(lambda one: (one[0], one[0] + one[1])))


def test_each_counts_from_when_it_came_until_it_went() -> None:
    assert depths([(1, 5), (2, 3)], 0, 10) == [(0, 0), (1, 1), (2, 2), (3, 1), (5, 0)]


def test_what_waits_already_is_the_first_depth() -> None:
    assert depths([(1, 5), (1, 7)], 3, 10) == [(3, 2), (5, 1), (7, 0)]


def test_who_goes_when_another_comes_changes_nothing() -> None:
    assert depths([(1, 5), (5, 7)], 0, 10) == [(0, 0), (1, 1), (7, 0)]


@given(WAITS, st.integers(0, 60), st.integers(60, 200))
def test_at_every_instant_it_is_the_number_of_those_that_are_there(
    waits: list[tuple[int, int]], since: int, until: int
) -> None:
    found = depths(waits, since, until)
    assert [at for at, _ in found] == sorted({at for at, _ in found})
    assert since <= found[0][0]
    assert found[-1][0] <= until
    for instant in range(since, until + 1):
        told = [depth for at, depth in found if at <= instant][-1]
        assert told == sum(came <= instant < went for came, went in waits)
