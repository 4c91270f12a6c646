"""What is done with a datum before work on it, and which one is served next."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamflow.core.deadline import Criticality, OnMiss
from streamflow.core.enforcement import RUN, Act, Due, Head, Verdict, choose, decide

COST = 10
CHEAP = 4
LOW, NORMAL, CRITICAL = Criticality
WORKING = {Act.RUN, Act.DEGRADE}


def due(deadline_ns: int | None, on_miss: OnMiss = OnMiss.SHED, index: int = 0, **more: object) -> Due:
    return Due(index, deadline_ns, on_miss=on_miss)._replace(**more)  # type: ignore[arg-type]


def verdict(*dues: Due, now_ns: int = 100, cheap: int | None = None, age: int | None = None) -> Verdict:
    return decide(dues, now_ns, cost_ns=COST, cheap_cost_ns=cheap, result_age_ns=age)


def test_work_that_ends_at_the_deadline_is_run() -> None:
    assert verdict(due(110)) == RUN
    assert verdict(due(109)).act is Act.SHED


def test_what_is_still_to_come_after_the_stage_counts() -> None:
    assert verdict(due(117, tail_ns=7)) == RUN
    assert verdict(due(116, tail_ns=7)).act is Act.SHED


def test_each_declared_miss_action_is_what_is_done() -> None:
    acts = {action: verdict(due(105, action), age=1).act for action in OnMiss}
    assert acts == {
        OnMiss.DELIVER: Act.DELIVER,
        OnMiss.SHED: Act.SHED,
        OnMiss.HOLD: Act.HOLD,
        OnMiss.DEGRADE: Act.SHED,
        OnMiss.CALL: Act.CALL,
        OnMiss.STOP: Act.SHED,
    }


def test_the_cheaper_variant_is_used_where_only_that_fits() -> None:
    assert verdict(due(105, OnMiss.DEGRADE), cheap=CHEAP) == Verdict(Act.DEGRADE)
    assert verdict(due(103, OnMiss.DEGRADE), cheap=CHEAP).act is Act.SHED
    assert verdict(due(110, OnMiss.DEGRADE), cheap=CHEAP) == RUN
    assert verdict(due(105, OnMiss.SHED), cheap=CHEAP).act is Act.SHED


def test_a_degraded_path_uses_the_cheaper_variant_at_once() -> None:
    assert verdict(due(200, is_degraded=True), cheap=CHEAP).act is Act.DEGRADE
    assert verdict(due(200, is_degraded=True)) == RUN


def test_a_degraded_path_that_delivers_missed_data_delivers_cheap_ones() -> None:
    assert verdict(due(50, OnMiss.DELIVER, is_degraded=True), cheap=CHEAP) == Verdict(Act.DEGRADE, given_up=1)


def test_a_degraded_path_does_not_degrade_one_of_a_higher_class() -> None:
    paths = due(200, is_degraded=True), due(200, index=1, criticality=CRITICAL)
    assert verdict(*paths, cheap=CHEAP) == RUN
    assert verdict(*paths, due(105, index=2, criticality=CRITICAL, is_degraded=True), cheap=CHEAP).act is Act.DEGRADE


def test_work_is_done_for_any_path_that_can_still_be_met() -> None:
    actuator, logger = due(50, index=0), due(500, index=1)
    assert verdict(actuator, logger) == Verdict(Act.RUN, given_up=0b01)


def test_a_loose_path_does_not_switch_the_cheaper_variant_off_for_a_tight_one() -> None:
    tight, loose = due(105, OnMiss.DEGRADE), due(500, index=1)
    assert verdict(tight, loose, cheap=CHEAP) == Verdict(Act.DEGRADE)
    assert verdict(tight, loose._replace(criticality=CRITICAL), cheap=CHEAP) == Verdict(Act.RUN, given_up=0b01)


def test_a_path_without_a_deadline_keeps_nothing_alive_that_a_declared_one_sheds() -> None:
    assert verdict(due(50), due(None, index=5)) == Verdict(Act.SHED, given_up=0b100001)


def test_where_only_accounts_are_kept_everything_is_run() -> None:
    assert verdict(due(None), due(None, index=1)) == RUN
    assert verdict() == RUN


def test_of_several_miss_actions_the_one_that_keeps_most_is_taken() -> None:
    order = [OnMiss.DELIVER, OnMiss.CALL, OnMiss.HOLD, OnMiss.DEGRADE]
    left = [[due(50, action, index) for index, action in enumerate(order[first:])] for first in range(len(order))]
    acts = [verdict(*dues, age=1).act for dues in left]
    assert acts == [Act.DELIVER, Act.CALL, Act.HOLD, Act.SHED]


def test_an_old_result_is_repeated_only_up_to_its_age_limit() -> None:
    holding = due(50, OnMiss.HOLD, max_age_ns=30)
    assert verdict(holding, age=30).act is Act.HOLD
    assert verdict(holding, age=31).act is Act.SHED
    assert verdict(holding).act is Act.SHED
    assert verdict(due(50, OnMiss.HOLD), age=10**12).act is Act.HOLD


def test_a_missed_path_that_was_to_stop_the_run_stops_it_whatever_becomes_of_the_datum() -> None:
    stopping = due(50, OnMiss.STOP)
    assert verdict(stopping) == Verdict(Act.SHED, given_up=1, stops=True)
    assert verdict(stopping, due(500, index=1)) == Verdict(Act.RUN, given_up=1, stops=True)
    assert not verdict(stopping._replace(deadline_ns=110), due(50, index=1)).stops


DUES = st.lists(
    st.builds(
        Due,
        st.integers(0, 5),
        st.none() | st.integers(0, 60),
        st.integers(0, 20),
        st.sampled_from(OnMiss),
        st.sampled_from(Criticality),
        st.none() | st.integers(0, 20),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda due: due.path_index,
)
COSTS = st.integers(0, 30)


@settings(max_examples=150, deadline=None)
@given(DUES, st.integers(0, 40), COSTS, st.none() | COSTS, st.none() | COSTS)
def test_nothing_is_started_that_cannot_finish_unless_it_was_to_be_delivered(
    dues: list[Due], now_ns: int, cost_ns: int, cheap_ns: int | None, age_ns: int | None
) -> None:
    found = decide(dues, now_ns, cost_ns=cost_ns, cheap_cost_ns=cheap_ns, result_age_ns=age_ns)
    declared = [due for due in dues if due.deadline_ns is not None]
    if not declared:
        assert found == RUN
        return
    lasting = cheap_ns if found.act is Act.DEGRADE else cost_ns
    assert lasting is not None, "no cheaper variant is called that there is not"
    met = [due for due in declared if now_ns + lasting + due.tail_ns <= (due.deadline_ns or 0)]
    may_deliver = any(due.on_miss is OnMiss.DELIVER for due in declared)
    if found.act in WORKING:
        assert met or (may_deliver and found.act is Act.DEGRADE)
        assert found.given_up == sum(1 << due.path_index for due in declared if due not in met)
    else:
        assert not met, "nothing that could be met is given up"
        assert found.act is not Act.DELIVER or may_deliver
    if found.act is Act.SHED:
        assert found.given_up == sum(1 << due.path_index for due in dues)
    assert found.stops == any(
        due.on_miss is OnMiss.STOP and found.given_up >> due.path_index & 1 for due in declared
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(DUES, st.integers(0, 40), COSTS, COSTS)
def test_a_path_of_a_higher_class_is_not_given_up_for_a_lower_one(
    dues: list[Due], now_ns: int, cost_ns: int, saved_ns: int
) -> None:
    cheap_ns = max(cost_ns - saved_ns, 0)
    found = decide(dues, now_ns, cost_ns=cost_ns, cheap_cost_ns=cheap_ns)
    for due in dues:
        if due.deadline_ns is None or not found.given_up >> due.path_index & 1:
            continue
        asks = due.on_miss is OnMiss.DEGRADE or due.is_degraded
        if asks and now_ns + cheap_ns + due.tail_ns <= due.deadline_ns:
            assert found.act is Act.RUN
            kept = [
                other for other in dues if not found.given_up >> other.path_index & 1 and other.deadline_ns is not None
            ]
            assert max(other.criticality for other in kept) > due.criticality


def head(criticality: Criticality, deadline_ns: int | None, arrival_ns: int = 0, cost_ns: int = 5, **more: int) -> Head:
    return Head(criticality, deadline_ns, arrival_ns, cost_ns, **more)


def test_the_highest_class_is_served_first_then_the_earliest_deadline_then_the_first_come() -> None:
    waiting = [
        head(NORMAL, 20),
        head(CRITICAL, 90, 2),
        head(CRITICAL, 90, 1),
        head(CRITICAL, 80, 3),
        head(CRITICAL, None),
    ]
    served = []
    while (index := choose(waiting, 0)) is not None:
        served.append(waiting.pop(index))
    assert served == [
        head(CRITICAL, 80, 3), head(CRITICAL, 90, 1), head(CRITICAL, 90, 2), head(CRITICAL, None), head(NORMAL, 20)
    ]  # fmt: skip


def test_nothing_is_chosen_among_none_or_before_it_is_ready() -> None:
    assert choose([], 0) is None
    assert choose([head(NORMAL, 50, ready_ns=3)], 2) is None
    assert choose([head(NORMAL, 50, ready_ns=3)], 3) == 0


def test_a_lower_class_does_not_make_one_miss_that_waits_for_its_partner() -> None:
    critical = head(CRITICAL, 20, ready_ns=4, tail_ns=5)  # must start by 10
    assert choose([critical, head(NORMAL, 99, cost_ns=10)], 0) == 1
    assert choose([critical, head(NORMAL, 99, cost_ns=11)], 0) is None
    assert choose([critical, head(NORMAL, 99, cost_ns=11), head(LOW, 99, cost_ns=3)], 0) == 2
    assert choose([head(CRITICAL, 9, ready_ns=4), head(NORMAL, 99, cost_ns=5)], 0) is None, "it would be just in time"
    assert choose([critical._replace(deadline_ns=13), head(NORMAL, 99, cost_ns=11)], 0) == 1, "it is missed anyway"


def test_the_first_of_a_class_is_not_overtaken_by_a_shorter_one_of_its_class() -> None:
    critical = head(CRITICAL, 20, ready_ns=4, tail_ns=5)
    assert choose([critical, head(NORMAL, 50, cost_ns=11), head(NORMAL, 60, cost_ns=1)], 0) is None


@dataclass
class Server:
    """A stage that serves heads of inputs, each input in its order, and sheds what cannot be on time."""

    inputs: list[list[Head]]
    now_ns: int = 0
    starts: list[tuple[int, Head, list[Head]]] = field(default_factory=list)
    shed: list[tuple[int, Head]] = field(default_factory=list)

    def run(self) -> None:
        while any(self.inputs):
            queues = [queue for queue in self.inputs if queue and queue[0].arrival_ns <= self.now_ns]
            index = choose([queue[0] for queue in queues], self.now_ns)
            if index is None:
                self.now_ns += 1
                continue
            others = [queue[0] for place, queue in enumerate(queues) if place != index]
            head = queues[index].pop(0)
            due = Due(0, head.deadline_ns, head.tail_ns, OnMiss.SHED, head.criticality)
            if decide([due], self.now_ns, cost_ns=head.cost_ns).act is Act.RUN:
                self.starts.append((self.now_ns, head, others))
                self.now_ns += head.cost_ns
            else:
                self.shed.append((self.now_ns, head))


HEADS = st.builds(
    lambda criticality, arrival, left, cost, tail, more: Head(
        criticality, None if left is None else arrival + left, arrival, cost, tail, arrival + more
    ),
    st.sampled_from(Criticality),
    st.integers(0, 30),
    st.none() | st.integers(0, 40),
    st.integers(1, 15),
    st.integers(0, 5),
    st.sampled_from([0, 0, 3, 10]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(HEADS, max_size=5).map(lambda heads: sorted(heads, key=lambda h: h.arrival_ns)), max_size=3))
@example([[Head(NORMAL, 99, 0, 15)], [Head(CRITICAL, 12, 0, 2, 0, 3)]])
def test_none_is_shed_for_a_lower_class_that_was_begun_while_it_waited(inputs: list[list[Head]]) -> None:
    server = Server([list(queue) for queue in inputs])
    server.run()
    assert len(server.starts) + len(server.shed) == sum(map(len, inputs)), "run or shed, never forgotten"
    for now_ns, head, waiting in server.starts:
        assert head.deadline_ns is None or now_ns + head.cost_ns + head.tail_ns <= head.deadline_ns
        for other in waiting:
            ready_ns = max(now_ns, other.ready_ns)
            after_ns = max(now_ns + head.cost_ns, other.ready_ns)
            if other.criticality > head.criticality and other.deadline_ns is not None:
                was_possible = ready_ns + other.cost_ns + other.tail_ns <= other.deadline_ns
                assert not was_possible or after_ns + other.cost_ns + other.tail_ns <= other.deadline_ns
            if other.criticality == head.criticality and other.ready_ns <= now_ns and other.deadline_ns is not None:
                assert head.deadline_ns is not None
                assert head.deadline_ns <= other.deadline_ns, "earliest deadline first within a class"
