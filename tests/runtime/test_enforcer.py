"""A stage's verdicts: what the general decision says, what is tried all the same, and which of too many goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import In, Message, Node, OnMiss, Out, Pipeline, ms
from streamflow.core.enforcement import RUN, TRY, Act, Verdict, decide
from streamflow.core.paths import Paths
from streamflow.runtime.stage.enforcer import Budget, Enforcer
from streamflow.testing import Ticks
from streamflow.transport.link import Backlog

WITHIN_NS = 25 * ms


class Model(Node):
    row_in = In("int64[]")
    row = Out("int64[]")

    def process(self, message: Message) -> Any:
        return message.array


class Actuator(Node):
    row = In("int64[]")

    def process(self, message: Message) -> None:
        return None


def enforcer(on_miss: OnMiss = OnMiss.SHED, *, cost_ns: int = 4 * ms, tail_ns: int = 9 * ms) -> Enforcer:
    """Of a stage between a sensor and an actuator; the rest of the way usually takes 1 ms."""
    p = Pipeline("enforced")
    sensor, model, actuator = p.add("sensor", Ticks(100, 1)), p.add("model", Model()), p.add("actuator", Actuator())
    p.connect(sensor, model)
    p.connect(model, actuator)
    p.deadline("main", sensor, actuator, within=WITHIN_NS, on_miss=on_miss)
    graph = p.definition().resolved().graph
    found = Enforcer("model", Model(), Paths(graph, graph.deadlines), {}, is_enforced=True)
    found.set_budget(Budget({0: tail_ns}, {0: 1 * ms}, frozenset(), cost_ns))
    return found


def verdict(stage: Enforcer, age_ns: int, *, has_more: bool) -> Verdict:
    now_ns = 10**12
    message = stage.with_deadline(Message({}, "sensor", 1, now_ns - age_ns))
    return stage.verdict(message, now_ns, None, lambda: Backlog(int(has_more), None))


@given(st.integers(0, 40 * ms), st.integers(0, 30 * ms), st.integers(0, 30 * ms))
def test_where_only_shedding_is_left_it_is_what_the_general_decision_says(
    age_ns: int, cost_ns: int, tail_ns: int
) -> None:
    stage = enforcer(cost_ns=cost_ns, tail_ns=tail_ns)
    now_ns = 10**12
    message = stage.with_deadline(Message({}, "sensor", 1, now_ns - age_ns))
    expected = decide(stage._dues(message, now_ns), now_ns, cost_ns=stage.cost.expected_ns())
    assert verdict(stage, age_ns, has_more=True) == expected


def test_what_leaves_no_room_for_what_is_rare_is_given_up_for_what_waits_behind_it() -> None:
    assert verdict(enforcer(), 10 * ms, has_more=True) == RUN
    assert verdict(enforcer(), 13 * ms, has_more=True).act is Act.SHED


def test_it_is_tried_where_nothing_waits_and_twice_the_usual_time_is_left() -> None:
    assert verdict(enforcer(), 13 * ms, has_more=False) is TRY
    assert verdict(enforcer(), 15 * ms, has_more=False) is TRY
    assert verdict(enforcer(), 15 * ms + 1, has_more=False).act is Act.SHED


def test_nothing_is_tried_as_long_as_no_time_is_known() -> None:
    assert verdict(enforcer(cost_ns=0, tail_ns=24 * ms), 13 * ms, has_more=False).act is Act.SHED


@pytest.mark.parametrize("on_miss", [OnMiss.DELIVER, OnMiss.STOP])
def test_it_is_no_try_where_it_is_worked_on_in_any_case_or_a_stop_was_asked_for(on_miss: OnMiss) -> None:
    found = verdict(enforcer(on_miss), 13 * ms, has_more=False)
    assert found is not TRY
    assert found.stops == (on_miss is OnMiss.STOP)


def verdict_before(stage: Enforcer, age_ns: int, depth: int, last_age_ns: int, stream: str = "sensor") -> Verdict:
    """On a datum of that age, behind which `depth` wait, the last of them of `last_age_ns`."""
    now_ns = 10**12
    message = stage.with_deadline(Message({}, "sensor", 1, now_ns - age_ns))
    last = Message({}, stream, 2, now_ns - last_age_ns)
    return stage.verdict(message, now_ns, None, lambda: Backlog(depth, last))


def test_of_more_than_can_be_on_time_the_oldest_is_given_up_not_the_last() -> None:
    stage = enforcer(tail_ns=1 * ms)  # 4.3 ms of work, 4 ms for each before it, 1 ms after it
    assert verdict_before(stage, 12 * ms, 4, 3 * ms) == RUN  # 3 + 4 * 4 + 4.3 + 1 = 24.3 ms
    assert verdict_before(stage, 12 * ms, 4, 4 * ms).act is Act.SHED
    assert verdict_before(stage, 12 * ms, 5, 1 * ms).act is Act.SHED


def test_nothing_is_given_up_for_others_as_long_as_half_of_its_time_to_wait_is_left() -> None:
    stage = enforcer(tail_ns=1 * ms)
    assert verdict_before(stage, 9 * ms, 5, 8 * ms) == RUN
    assert verdict_before(stage, 10 * ms, 5, 8 * ms).act is Act.SHED


def test_nothing_is_given_up_for_another_stream() -> None:
    assert verdict_before(enforcer(tail_ns=1 * ms), 12 * ms, 5, 4 * ms, "another") == RUN
