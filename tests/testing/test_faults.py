"""What a declaration of faults promises: read as it was written, checked against the graph, the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from streamflow import Message, Overflow
from streamflow.core.graph import EdgeDef, Graph, PortDef, StageDef
from streamflow.core.ports import PortType
from streamflow.core.timebase import ms, ns, s, us
from streamflow.errors import Fault, PipelineError
from streamflow.runtime.clock import TrioClock
from streamflow.testing.fault_plan import FaultPlan
from streamflow.testing.faults import OF_EDGES, OF_SOURCES, Faults, Kind
from streamflow.transport.link import Bell
from streamflow.transport.memory_socket import MemoryNetwork
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.wire.packets import Data, End, encode
from streamflow.wire.session import EdgeTerms

PORT = PortDef(PortType({}))


def stage(name: str, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ("out",)) -> StageDef:
    ports = dict.fromkeys(inputs, PORT), dict.fromkeys(outputs, PORT)
    return StageDef(name, "Node", name, *ports, is_source=not inputs)


GRAPH = Graph(
    "speech",
    (
        stage("mic"),
        stage("infer", inputs=("x",)),
        stage("join", inputs=("left", "right")),
        stage("write", inputs=("in",), outputs=()),
    ),
    (
        EdgeDef("mic", "out", "infer", "x"),
        EdgeDef("infer", "out", "join", "left"),
        EdgeDef("infer", "out", "join", "right"),
        EdgeDef("join", "out", "write", "in"),
    ),
)
EDGE = "mic.out->infer.x"


def plan_of(faults: Faults) -> FaultPlan:
    return FaultPlan(faults, GRAPH)


# ------------------------------------------------------------------------------------------------ of stages


def test_a_slow_stage_is_slower_from_then_until_then() -> None:
    plan = plan_of(Faults().slow("infer", by=20 * ms, from_s=1, until_s=2))
    assert [plan.service_ns("infer", 0, at_s * s) for at_s in range(4)] == [0, 20 * ms, 0, 0]
    assert plan.service_ns("join", 0, s) == 0


def test_what_is_slow_for_some_data_is_so_for_no_others_and_adds_up() -> None:
    plan = plan_of(Faults().slow("infer", by=5 * ms, seqs=[3, 4]).slow("infer", by=2 * ms, seqs=range(4, 6)))
    assert [plan.service_ns("infer", seq, 0) for seq in range(7)] == [0, 0, 0, 5 * ms, 7 * ms, 2 * ms, 0]


def test_a_stage_hangs_in_the_first_handling_from_then_on_and_not_again_after_a_restart() -> None:
    plan = plan_of(Faults().hang("infer", at_s=1))
    assert not plan.hangs("infer", 9, s - 1)
    assert plan.hangs("infer", 10, s)
    assert plan.hangs("infer", 10, 5 * s), "nothing came in between"
    assert not plan.hangs("infer", 11, 2 * s, alive_since_ns=s + 50 * ms)


def test_a_stage_hangs_with_one_datum() -> None:
    plan = plan_of(Faults().hang("infer", seq=7))
    assert [plan.hangs("infer", seq, s) for seq in (6, 7, 8)] == [False, True, False]
    assert plan.hangs("infer", 7, s, alive_since_ns=s - 1), "a datum is handled once, in whatever life"


def test_a_process_dies_at_an_instant_or_with_a_datum() -> None:
    plan = plan_of(Faults().crash("infer", at_s=2).crash("infer", seq=3).crash("infer", at_s=0.5))
    assert plan.crash_instants_ns("infer") == [s // 2, 2 * s]
    assert [plan.crashes("infer", seq) for seq in (2, 3)] == [False, True]
    assert plan.crash_instants_ns("mic") == []
    assert not plan.crashes("mic", 3)


def test_a_loop_stands_still_and_goes_on() -> None:
    plan = plan_of(Faults().stall("infer", at_s=2, for_=300 * ms).stall("infer", at_s=1, for_=s))
    assert plan.stalls_ns("infer") == [(s, s), (2 * s, 300 * ms)]


# ----------------------------------------------------------------------------------------------- of sources


def test_a_source_is_late_with_some_data() -> None:
    plan = plan_of(Faults().late("mic", by=30 * ms, from_s=1, seqs=range(100)))
    assert plan.late_ns("mic", 0, 0) == 0
    assert plan.late_ns("mic", 99, s) == 30 * ms
    assert plan.late_ns("mic", 100, s) == 0


def test_a_wall_clock_that_was_set_stays_off_until_it_is_set_again() -> None:
    plan = plan_of(Faults().clock_step("mic", by=-2 * s, at_s=1).clock_step("mic", by=3 * s, at_s=2))
    assert [plan.wall_offset_ns("mic", at_s * s) for at_s in (0, 1, 2, 9)] == [0, -2 * s, s, s]


# ------------------------------------------------------------------------------------------------- of edges


def test_an_edge_loses_and_doubles_data() -> None:
    plan = plan_of(Faults().drop(EDGE, seqs=[1, 2]).duplicate(EDGE, seqs=[2, 3]))
    assert [plan.copy_count(EDGE, seq, 0) for seq in range(5)] == [1, 0, 0, 2, 1]


@pytest.mark.parametrize("name", ["mic->infer", "mic.out->infer", "mic->infer.x", "mic.out->infer.x"])
def test_an_edge_may_be_named_without_its_ports(name: str) -> None:
    assert plan_of(Faults().delay(name, by=ms)).delay_ns(EDGE, 0, 0) == ms


@given(st.integers(0, 1000), st.floats(0.01, 1.0))
def test_a_share_is_the_same_data_for_everyone_who_asks(seed: int, share: float) -> None:
    faults = Faults(seed).drop(EDGE, share=share).drop("infer->join.left", share=share)
    one, other = plan_of(faults), plan_of(faults)
    counts = [one.copy_count(EDGE, seq, 0) for seq in range(50)]
    assert counts == [other.copy_count(EDGE, seq, 0) for seq in reversed(range(50))][::-1]
    assert share < 1 or set(counts) == {0}


def test_about_that_share_is_lost_and_another_seed_loses_others() -> None:
    lost = [
        [seq for seq in range(2000) if plan_of(Faults(seed).drop(EDGE, share=0.25)).copy_count(EDGE, seq, 0) == 0]
        for seed in (1, 2)
    ]
    assert all(400 < len(seqs) < 600 for seqs in lost)
    assert lost[0] != lost[1]


def test_two_edges_lose_data_of_their_own() -> None:
    other = "infer.out->join.left"
    plan = plan_of(Faults().drop(EDGE, share=0.5).drop(other, share=0.5))
    assert [plan.copy_count(EDGE, seq, 0) for seq in range(50)] != [plan.copy_count(other, seq, 0) for seq in range(50)]


def test_only_data_of_a_running_run_are_delayed_on_the_wire() -> None:
    plan = plan_of(Faults().delay(EDGE, by=20 * ms, from_s=1))
    started_ns = 0
    asked = plan.network_plan({"memory://0": EDGE}.get, lambda: started_ns)
    datum = encode(Data(0, Message({}, "mic", 5)))
    assert asked("memory://0", datum, 9 * s) == (9 * s,)
    started_ns = 5 * s
    assert asked("memory://0", datum, 5 * s) == (5 * s,)
    assert asked("memory://0", datum, 6 * s) == (6 * s + 20 * ms,)
    assert asked("memory://0", encode(End(1)), 6 * s) == (6 * s,)
    assert asked("memory://0", [b"no packet"], 6 * s) == (6 * s,)
    assert asked("memory://1", datum, 6 * s) == (6 * s,)


def test_a_delayed_link_loses_nothing_and_keeps_its_order_in_virtual_time() -> None:
    faults = Faults().delay(EDGE, by=20 * ms, seqs=[2, 3])
    terms = EdgeTerms(EDGE, "5eed", Overflow.BLOCK, capacity=8)
    read: list[tuple[int, int]] = []

    async def run() -> None:
        clock = TrioClock()
        start_ns = clock.now_ns()
        plan = plan_of(faults).network_plan({"memory://0": EDGE}.get, lambda: start_ns)
        network, bell = MemoryNetwork(clock, plan), Bell()
        receiver = SocketReceiver(network, "memory://0", terms, bell)
        sender = SocketSender(network, receiver.endpoint, terms)

        async def write() -> None:
            for seq in range(6):
                await clock.sleep_until(start_ns + seq * 15 * ms)
                assert sender.offer(Message({}, "mic", seq))
            sender.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.run)
            nursery.start_soon(sender.run)
            nursery.start_soon(write)
            while not receiver.is_exhausted:
                message = receiver.take()
                if message is None:
                    await bell.wait()
                else:
                    read.append((message.seq, (clock.now_ns() - start_ns) // ms))
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))
    assert read == [(0, 0), (1, 15), (2, 50), (3, 65), (4, 65), (5, 75)]


# ---------------------------------------------------------------------------------------------------- checked


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        (Faults().slow("infr", by=ms), "slow('infr'): no stage infr, expected one of mic, infer, join, write; "
                                       "did you mean infer?"),
        (Faults().drop("mic->infr"), "drop('mic->infr'): no edge mic->infr, expected one of mic.out->infer.x, "
                                     "infer.out->join.left, infer.out->join.right, join.out->write.in; "
                                     "did you mean mic->infer?"),
        (Faults().drop("infer->join"), "drop('infer->join'): 2 edges, expected one of infer.out->join.left, "
                                       "infer.out->join.right"),
        (Faults().late("infer", by=ms), "late('infer'): infer is no source, expected one of mic"),
        (Faults().clock_step("mick", by=ms, at_s=0), "clock_step('mick'): no stage mick, expected one of mic, infer, "
                                                     "join, write; did you mean mic?"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_of_the_graphs_is_told_with_the_nearest(faults: Faults, sentence: str) -> None:
    with pytest.raises(PipelineError) as caught:
        plan_of(faults)
    assert str(caught.value) == sentence


def test_all_wrong_names_are_told_together() -> None:
    with pytest.raises(PipelineError) as caught:
        plan_of(Faults().slow("a", by=ms).hang("infer", at_s=1).crash("b", seq=1))
    assert [fault.subject for fault in caught.value.faults] == ["slow('a')", "crash('b')"]


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda faults: faults.slow("a", by=0), "slow('a'): by=0, expected whole nanoseconds, more than 0"),
        (lambda faults: faults.delay("a", by=0.02), "delay('a'): by=0.02, expected whole nanoseconds"),
        (lambda faults: faults.stall("a", at_s=1, for_=-1), "stall('a'): for_=-1, expected whole nanoseconds"),
        (lambda faults: faults.clock_step("a", by=0, at_s=1), "clock_step('a'): by=0, expected a step"),
        (lambda faults: faults.hang("a"), "hang('a'): neither at_s nor seq, expected one of them"),
        (lambda faults: faults.crash("a", at_s=1, seq=1), "crash('a'): both at_s and seq, expected one of them"),
        (lambda faults: faults.crash("a", at_s=-1), "crash('a'): -1 s, expected an instant of the run"),
        (lambda faults: faults.crash("a", at_s=float("nan")), "crash('a'): nan s, expected an instant of the run"),
        (lambda faults: faults.drop("a", from_s=2, until_s=1), "drop('a'): until_s=1, expected later than 2 s"),
        (lambda faults: faults.drop("a", share=0), "drop('a'): share=0, expected more than 0, at most 1"),
        (lambda faults: faults.drop("a", seqs=[]), "drop('a'): seqs=(), expected numbers of data, from 0 on"),
        (lambda faults: faults.drop("a", seqs=[-1]), "drop('a'): seqs=(-1,), expected numbers of data, from 0 on"),
    ],
)
def test_a_value_that_means_nothing_is_told_where_it_is_declared(
    declare: Callable[[Faults], Any], sentence: str
) -> None:
    with pytest.raises(Fault) as caught:
        declare(Faults())
    assert str(caught.value).startswith(sentence)


# ------------------------------------------------------------------------------------------ read and by chance


def test_a_declaration_reads_as_it_was_written() -> None:
    faults = (
        Faults(seed=7)
        .slow("infer", by=20 * ms, from_s=1.25, until_s=2.0)
        .hang("infer", seq=3)
        .stall("infer", at_s=0.5, for_=1 * s)
        .clock_step("mic", by=-1500 * us, at_s=0.0)
        .drop("mic->infer", seqs=range(0, 5))
    )
    assert repr(faults) == (
        "(\n"
        "    Faults(seed=7)\n"
        "    .slow('infer', by=20 * ms, from_s=1.25, until_s=2.0)\n"
        "    .hang('infer', seq=3)\n"
        "    .stall('infer', at_s=0.5, for_=1 * s)\n"
        "    .clock_step('mic', by=-1500 * us, at_s=0.0)\n"
        "    .drop('mic->infer', seqs=range(0, 5))\n"
        ")"
    )
    assert repr(Faults()) == "Faults()"


SEEDS = st.integers(0, 2**32)


@settings(max_examples=60)
@given(SEEDS, st.floats(0.1, 600))
def test_a_plan_by_chance_is_the_same_for_its_seed_fits_the_graph_and_can_be_pasted(
    seed: int, duration_s: float
) -> None:
    faults = Faults.random(GRAPH, seed, duration_s)
    assert faults == Faults.random(GRAPH, seed, duration_s)
    assert 1 <= len(faults.injections) <= 6
    assert all(injection.from_ns <= (duration_s + 0.001) * s for injection in faults.injections)
    plan_of(faults)
    assert eval(repr(faults), {"Faults": Faults, "ns": ns, "us": us, "ms": ms, "s": s}) == faults


@given(SEEDS, st.sets(st.sampled_from(Kind), min_size=1))
def test_a_plan_by_chance_is_of_the_kinds_that_were_asked_for(seed: int, kinds: set[Kind]) -> None:
    faults = Faults.random(GRAPH, seed, 10, kinds=kinds, fault_count=4)
    assert len(faults.injections) == 4
    assert {injection.kind for injection in faults.injections} <= kinds


def test_every_kind_comes_by_chance_and_seeds_differ() -> None:
    plans = [Faults.random(GRAPH, seed, 10) for seed in range(100)]
    assert {injection.kind for plan in plans for injection in plan.injections} == set(Kind)
    assert len({repr(plan) for plan in plans}) > 90


def test_a_graph_without_edges_has_none_to_break() -> None:
    alone = Graph("alone", (stage("mic"),), ())
    for seed in range(20):
        kinds = {injection.kind for injection in Faults.random(alone, seed, 1).injections}
        assert not kinds & OF_EDGES
    assert Faults.random(alone, 0, 1, kinds=OF_EDGES).injections == []
    assert OF_SOURCES.isdisjoint(OF_EDGES)
