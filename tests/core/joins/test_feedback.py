"""What comes back: the result of an earlier row, or what stands in for it, and nobody waits too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.joins.contract import Decider, InputState, Row
from streamflow.core.joins.feedback import Loop, Reseed, WithFeedback
from streamflow.joins import Exact
from tests.core.joins.schedules import Datum


@given(
    st.integers(1, 4),
    st.sampled_from(list(Reseed)),
    st.none() | st.integers(1, 30),
    st.lists(st.tuples(st.integers(1, 20), st.none() | st.integers(0, 60)), max_size=30),
)
def test_a_row_has_the_result_of_the_row_before_it_where_that_came_in_time(
    delay: int, reseed: Reseed, max_wait: int | None, steps: list[tuple[int, int | None]]
) -> None:
    """`steps`: after how long the next number comes, and how long its result takes; None: it never comes."""
    inner: Decider[Datum] = Exact().decider(("x",))
    decider: WithFeedback[Datum] = WithFeedback(inner, ("x",), {"back": Loop(delay, reseed)}, max_wait)
    at_ns = 0
    numbers = []
    for gap, takes in steps:
        at_ns += gap
        numbers.append((at_ns, takes))
    came: dict[int, int] = {}
    rows: list[tuple[int, Row[Datum]]] = []
    coming: list[tuple[int, int]] = []
    settled: list[int] = []

    def ask(now_ns: int) -> None:
        while (row := decider.ready(now_ns)) is not None:
            rows.append((now_ns, row))
            takes = dict(numbers)[row.time_ns]
            if takes is not None:
                due_ns = max([now_ns + takes, *(at for at, _ in coming)])  # a link keeps order
                coming.append((due_ns, row.time_ns))
        settled.extend(left.item.event_time_ns for left in decider.left_out())

    for now_ns in range(at_ns + 200):
        for due_ns, time_ns in [one for one in coming if one[0] == now_ns]:
            came[time_ns] = now_ns
            decider.offer("back", Datum("back", time_ns), now_ns)
            coming.remove((due_ns, time_ns))
            ask(now_ns)
        if now_ns in dict(numbers):
            decider.offer("x", Datum("x", now_ns), now_ns)
            ask(now_ns)
        wake_ns = decider.wake_ns()
        if wake_ns is not None and wake_ns <= now_ns:
            ask(now_ns)
    times = [row.time_ns for _, row in rows]
    assert times == [time_ns for time_ns, _ in numbers][: len(times)]
    if max_wait is not None:
        assert len(times) == len(numbers), "nothing stands still"
    for index, (found_ns, row) in enumerate(rows):
        part = row.parts["back"]
        if index < delay:
            assert part.state is InputState.INITIAL
            continue
        wanted = times[index - delay]
        if came.get(wanted, found_ns + 1) <= found_ns:
            assert part.items == (Datum("back", wanted),)
            assert part.state is InputState.USED
        elif reseed is Reseed.INITIAL:
            assert part.state is InputState.INITIAL
        else:
            assert all(item.event_time_ns < wanted for item in part.items)
    used = [item.event_time_ns for _, row in rows for _, item in row.consumed]
    decider.discard()
    settled.extend(left.item.event_time_ns for left in decider.left_out())
    assert sorted([*used, *settled]) == sorted(came), "each result is used once or passed over"
