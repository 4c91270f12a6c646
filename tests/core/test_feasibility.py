"""Whether a deadline can be met, from what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.budget import Estimate
from streamflow.core.deadline import PathDef, RateDef
from streamflow.core.feasibility import TRANSPORT_ASSUMED_NS, Feasibility, Measured, examine, examine_rate
from streamflow.core.graph import EdgeDef, Graph, PortDef, StageDef
from streamflow.core.overflow import Overflow
from streamflow.core.ports import PortType
from streamflow.core.timebase import ms

PORT = PortDef(PortType({}))
DROP, BLOCK, LATEST = Overflow.DROP_OLDEST, Overflow.BLOCK, Overflow.LATEST


def stage(
    name: str, inputs: int = 1, process: str | None = None, *, live: bool = False, joined: bool = True
) -> StageDef:
    ports = {f"in{i}": PORT for i in range(inputs)}
    handled = None if joined else frozenset(ports)
    return StageDef(name, "Node", process or name, ports, {"out": PORT}, not inputs, live, handled)


def edge(source: str, target: str, overflow: Overflow = BLOCK, capacity: int = 8, port: int = 0) -> EdgeDef:
    return EdgeDef(source, "out", target, f"in{port}", overflow, capacity)


def chain(first: Overflow = BLOCK, second: Overflow = BLOCK, capacity: int = 8, **source: bool) -> Graph:
    stages = (stage("mic", 0, **source), stage("vad"), stage("log"))
    return Graph("g", stages, (edge("mic", "vad", first, capacity), edge("vad", "log", second, capacity)))


def fixed(duration_ms: float) -> Estimate:
    return Estimate(round(duration_ms * ms), round(duration_ms * ms), 1000)


def measured(graph: Graph, rate_hz: float | None = None, wire_ms: float = 1, **service_ms: float) -> Measured:
    return Measured(
        {name: fixed(duration_ms) for name, duration_ms in service_ms.items()},
        {e.name: fixed(wire_ms) for e in graph.edges},
        {e.name: rate_hz for e in graph.edges} if rate_hz else {},
    )


def look(graph: Graph, told: Measured, within_ms: float, source: str = "mic", sink: str = "log"):
    order = [one.name for one in graph.stages]
    return examine(graph, order, told, PathDef("d", source, sink, round(within_ms * ms)))


def test_behind_a_dropping_edge_one_waits_for_a_full_mailbox_at_most_whatever_the_rate():
    graph = chain(DROP, DROP, capacity=4)
    found = look(graph, measured(graph, 1.0, vad=10, log=1), 1000)
    assert found.bound_ns == (5 * 10 + 1) * ms + (5 * 1 + 1) * ms
    assert look(graph, measured(graph, 1e6, vad=10, log=1), 1000).bound_ns == found.bound_ns


def test_where_only_the_latest_waits_capacity_does_not_count():
    graph = chain(LATEST, LATEST, capacity=100)
    assert look(graph, measured(graph, 1.0, vad=10, log=1), 1000).bound_ns == (2 * 10 + 1 + 2 * 1 + 1) * ms


def test_a_burst_is_paid_once_on_blocking_edges_that_keep_up():
    graph = chain()
    found = look(graph, measured(graph, 50.0, vad=10, log=4), 1000)
    assert found.bound_ns == (10 + 1 + 4 + 1) * ms + 10 * ms


def test_a_blocking_edge_of_unknown_rate_may_be_full():
    graph = chain(capacity=3)
    assert look(graph, measured(graph, None, vad=10, log=4), 1000).bound_ns == (4 * 10 + 1 + 4 * 4 + 1) * ms


def test_what_a_dropping_edge_lets_go_at_once_is_a_burst_behind_it():
    graph = chain(DROP, BLOCK, capacity=4)
    found = look(graph, measured(graph, 50.0, vad=1, log=10), 1000)
    # vad must wait for log where that is slower, and log gets four at once.
    assert found.bound_ns == (5 * 10 + 1) * ms + (10 + 1 + 4 * 10) * ms


def test_a_bound_within_the_deadline_passes_and_one_beyond_it_is_a_risk():
    graph = chain(DROP, DROP, capacity=1)
    told = measured(graph, 10.0, vad=10, log=1)
    bound_ms = look(graph, told, 1000).bound_ns / ms
    assert look(graph, told, bound_ms).feasibility is Feasibility.PASS
    assert look(graph, told, bound_ms - 1).feasibility is Feasibility.RISK


def test_what_takes_too_long_without_any_waiting_fails():
    graph = chain(DROP, DROP)
    found = look(graph, measured(graph, 1.0, vad=10, log=1), 12)
    assert found.feasibility is Feasibility.FAIL
    assert "13.0 ms without any waiting" in found.reasons


def test_a_stage_that_cannot_keep_up_fails_where_nothing_is_dropped():
    graph = chain()
    found = look(graph, measured(graph, 200.0, vad=10, log=1), 1000)
    assert found.feasibility is Feasibility.FAIL
    assert "vad is asked for 200% of its time, and nothing before it is dropped" in found.reasons


def test_a_stage_that_cannot_keep_up_is_a_risk_where_its_data_are_dropped():
    graph = chain(DROP)
    found = look(graph, measured(graph, 200.0, vad=10, log=1), 1000)
    assert found.feasibility is Feasibility.RISK
    assert "vad is asked for 200% of its time, so 50% of its data will be dropped" in found.reasons


def test_a_stage_that_cannot_keep_up_is_a_risk_where_a_live_source_or_an_edge_before_drops():
    live = chain(live=True)
    assert look(live, measured(live, 200.0, vad=10, log=1), 1000).feasibility is Feasibility.RISK
    shielded = chain(DROP)
    assert look(shielded, measured(shielded, 200.0, vad=1, log=10), 1000).feasibility is Feasibility.RISK


def test_a_stage_that_is_almost_full_is_a_risk():
    graph = chain()
    assert look(graph, measured(graph, 97.0, vad=10, log=1), 1000).feasibility is Feasibility.RISK


def test_stages_of_one_process_wait_for_each_other():
    stages = (stage("mic", 0), stage("vad", process="both"), stage("log", process="both"))
    graph = Graph("g", stages, (edge("mic", "vad", DROP, 1), edge("vad", "log", DROP, 1)))
    assert look(graph, measured(graph, 1.0, vad=10, log=5), 1000).bound_ns == 2 * (2 * 15 + 1) * ms


def test_an_input_waits_for_the_others_of_its_stage_in_turn():
    stages = (stage("mic", 0), stage("cam", 0), stage("log", 2, joined=False))
    graph = Graph("g", stages, (edge("mic", "log", DROP, 2, 0), edge("cam", "log", DROP, 2, 1)))
    assert look(graph, measured(graph, 1.0, log=10), 1000).bound_ns == (5 * 10 + 1) * ms


def test_a_join_waits_for_the_longest_way_to_any_of_its_inputs():
    stages = (stage("mic", 0), stage("cam", 0), stage("net"), stage("log", 2))
    edges = (edge("mic", "log", DROP, 1, 0), edge("cam", "net", DROP, 1), edge("net", "log", DROP, 1, 1))
    graph = Graph("g", stages, edges)
    found = look(graph, measured(graph, 1.0, net=20, log=1), 1000)
    assert found.bound_ns == (2 * 20 + 1 + 2 * 1 + 1) * ms


def test_of_parallel_ways_the_longest_counts():
    stages = (stage("mic", 0), stage("a"), stage("b"), stage("log", 2))
    edges = (
        edge("mic", "a", DROP, 1),
        edge("mic", "b", DROP, 1),
        edge("a", "log", DROP, 1),
        edge("b", "log", DROP, 1, 1),
    )
    graph = Graph("g", stages, edges)
    found = look(graph, measured(graph, 1.0, a=20, b=5, log=1), 1000)
    assert found.bound_ns == (2 * 20 + 1 + 2 * 1 + 1) * ms
    assert found.lower_ns == (20 + 1 + 1 + 1) * ms


def test_what_was_not_measured_is_said_and_is_no_pass():
    graph = chain(DROP, DROP, 1)
    told = Measured({"log": fixed(1)}, {}, {})
    found = look(graph, told, 1000)
    assert found.feasibility is Feasibility.RISK
    assert "nothing is known of vad" in found.reasons
    assert found.bound_ns == 2 * TRANSPORT_ASSUMED_NS + 2 * ms


def test_the_dominating_hop_and_the_capacity_that_would_do_are_named():
    graph = chain(DROP, DROP, 8)
    found = look(graph, measured(graph, 1.0, vad=10, log=1), 80)
    assert found.feasibility is Feasibility.RISK
    assert "vad dominates with 91.0 ms" in found.reasons
    assert found.reasons[-1] == "capacity 8 -> 5 at mic.out->vad.in0 saves 30.0 ms, which is enough"


def test_where_nothing_waits_quicker_work_is_what_saves():
    graph = chain()
    found = look(graph, measured(graph, 50.0, vad=10, log=4), 1000)
    assert found.reasons[-1] == "a tenth less service at vad saves 2.0 ms"


def test_the_sentence_has_the_verdict_first():
    graph = chain(DROP, DROP, 1)
    sentence = look(graph, measured(graph, 1.0, vad=10, log=1), 50).sentence()
    assert sentence.startswith("d: PASS, up to 24.0 ms of 50.0 ms; vad dominates with 21.0 ms; ")


def test_a_rate_deadline_must_leave_room_for_more_than_one_period():
    graph = chain()
    told = measured(graph, 10.0, vad=1, log=1)

    def rate(within_ms: int) -> RateDef:
        return RateDef("alive", "vad", "in0", within_ms * ms)

    found = [examine_rate(graph, told, rate(within_ms)) for within_ms in (99, 150, 200)]
    assert [one.feasibility.value for one in found if one] == ["FAIL", "RISK", "PASS"]
    assert examine_rate(graph, Measured({}, {}, {}), rate(99)) is None


@given(
    st.sampled_from([DROP, BLOCK, LATEST]),
    st.sampled_from([DROP, BLOCK, LATEST]),
    st.integers(1, 20),
    st.one_of(st.none(), st.floats(0.1, 1000)),
    st.floats(0.01, 50),
    st.floats(0.01, 50),
)
def test_a_bound_is_never_below_what_a_datum_takes_alone(first, second, capacity, rate_hz, vad, log):
    graph = chain(first, second, capacity)
    found = look(graph, measured(graph, rate_hz, vad=vad, log=log), 20)
    assert found.bound_ns >= found.lower_ns
    if found.feasibility is Feasibility.PASS:
        assert found.bound_ns <= found.within_ns
    if found.lower_ns > found.within_ns:
        assert found.feasibility is Feasibility.FAIL


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.1, 20))
def test_more_capacity_never_makes_a_bound_smaller(one, other, vad):
    low, high = sorted((one, other))
    bounds = []
    for capacity in (low, high):
        graph = chain(DROP, BLOCK, capacity)
        bounds.append(look(graph, measured(graph, 20.0, vad=vad, log=1), 100).bound_ns)
    assert bounds[0] <= bounds[1]
