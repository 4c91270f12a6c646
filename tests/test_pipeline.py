"""What a pipeline module says of deadlines and supervision, and what it hears when it says it wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamflow import (
    Batch,
    Criticality,
    Escalation,
    Fill,
    In,
    Message,
    Node,
    OnMiss,
    Order,
    Out,
    Overflow,
    Pipeline,
    PipelineError,
    RealTime,
    Restart,
    RestartStrategy,
    ms,
    s,
)
from streamflow.core.firm import Firm
from streamflow.joins import Approximate, Exact, Interpolate, Latest, Nearest, Settled, Window
from streamflow.pipeline import Stage


class Source(Node):
    number = Out("int64[]")

    async def run(self) -> None:
        await self.emit(np.int64(1))


class Work(Node):
    data = In("int64[]")
    same = Out("int64[]")

    def process(self, message: Any) -> Any:
        return message.array


class Sink(Node):
    data = In("int64[]")

    def process(self, message: Any) -> None: ...


def chain() -> tuple[Pipeline, Stage, Stage, Stage]:
    p = Pipeline("chain")
    source, work, sink = p.add("source", Source()), p.add("work", Work()), p.add("sink", Sink())
    p.connect(source, work)
    p.connect(work, sink)
    return p, source, work, sink


def faults_of(p: Pipeline) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        p.check()
    return str(caught.value).splitlines()


def test_a_deadline_is_kept_as_it_was_declared() -> None:
    p, source, _, sink = chain()
    steps = (Escalation.DEGRADE, Escalation.RESTART)
    p.deadline(
        "fast", source, sink, within=25 * ms, on_miss=OnMiss.HOLD, max_age=100 * ms, firm=(9, 10), escalation=steps,
        criticality=Criticality.CRITICAL,
    )  # fmt: skip
    (path,) = p.definition().resolved().graph.deadlines
    assert (path.source, path.sink, path.within_ns, path.max_age_ns) == ("source", "sink", 25_000_000, 100_000_000)
    assert (path.on_miss, path.firm, path.escalation) == (OnMiss.HOLD, Firm(9, 10), steps)
    assert path.criticality is Criticality.CRITICAL


def test_a_sink_may_be_any_stage_and_several_deadlines_may_cross_one() -> None:
    p, source, work, sink = chain()
    p.deadline("near", source, work, within=10 * ms)
    p.deadline("far", source, sink, within=50 * ms)
    p.check()


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=0.025),
            "deadline d: within 0.025, expected whole nanoseconds; as in within=25 * ms",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=0),
            "deadline d: within 0 ns, expected at least 10,000; as in within=25 * ms",
        ),
        (
            lambda p, a, b, c: p.deadline("d", b, c, within=ms),
            "deadline d: work is no source, expected one of source; a deadline runs from a source",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, "sink", within=ms),
            "deadline d: a str as the sink, expected a stage; what p.add returned",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c.data, within=ms),
            "deadline d: the port sink.data as the sink, expected a stage; what p.add returned",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, firm=(11, 10)),
            "deadline d: firm (11, 10), expected (m, k) with 1 <= m <= k <= 4,096",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, firm=9),
            "deadline d: firm 9, expected (m, k); firm=(9, 10): 9 of any 10 on time",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, on_miss=OnMiss.HOLD),
            "deadline d: on_miss HOLD without max_age, expected how old a repeated result may be; max_age=...",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, on_miss=OnMiss.CALL),
            "deadline d: on_miss CALL without call, expected both or none; on_miss=OnMiss.CALL, call=handler",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, call=print),
            "deadline d: call with on_miss DELIVER, expected both or none; on_miss=OnMiss.CALL, call=handler",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, on_miss="shed"),
            "deadline d: on_miss 'shed', expected OnMiss.DELIVER, OnMiss.SHED, OnMiss.HOLD, OnMiss.DEGRADE, "
            "OnMiss.CALL, OnMiss.STOP",
        ),
        (
            lambda p, a, b, c: p.deadline("d", a, c, within=ms, escalation=[Escalation.STOP]),
            "deadline d: escalation stop without firm, expected a contract to be broken; firm=(m, k)",
        ),
        (
            lambda p, a, b, c: p.rate_deadline("r", b.dta, within=s),
            "deadline r: work has no input dta, expected one of data; did you mean data?",
        ),
        (
            lambda p, a, b, c: p.rate_deadline("r", a, within=s),
            "deadline r: source is a source, expected an input; give a stage that it sends to",
        ),
        (
            lambda p, a, b, c: p.supervise(b, restart_intensity=-1),
            "group work: a restart intensity of -1, expected 0 or more",
        ),
        (
            lambda p, a, b, c: p.supervise(b, restart_period="10"),
            "group work: restart_period '10', expected a whole number",
        ),
        (
            lambda p, a, b, c: p.supervise("work"),
            "group chain: a str as the stage, expected a stage; what p.add returned",
        ),
        (
            lambda p, a, b, c: (p.supervise(b), p.supervise(b, c)),
            "stage work: in the groups work and work+sink, expected one group",
        ),
        (
            lambda p, a, b, c: p.add("d", Source(), restart="never"),
            "stage d: restart 'never', expected Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY",
        ),
    ],
)
def test_a_wrong_word_is_told_in_one_sentence(declare: Callable[..., None], sentence: str) -> None:
    p, source, work, sink = chain()
    declare(p, source, work, sink)
    assert faults_of(p) == [sentence]


def test_everything_that_is_wrong_is_told_together() -> None:
    p, source, _, sink = chain()
    p.deadline("one", source, sink, within=-1)
    p.deadline("one", source, sink, within=ms)
    p.connect(source, sink, order="edf")  # type: ignore[arg-type]
    told = faults_of(p)
    assert any("order 'edf', expected Order.FIFO, Order.EDF" in sentence for sentence in told)
    assert any("within -1 ns" in sentence for sentence in told)
    assert any("2 deadlines of this name" in sentence for sentence in told)


def test_without_stages_a_group_has_all_that_are_in_no_other() -> None:
    p, _, work, _ = chain()
    p.supervise(work, strategy=RestartStrategy.REST_FOR_ONE)
    p.supervise(name="rest", restart_intensity=1, restart_period=5 * s)
    groups = {group.name: group.stages for group in p.definition().resolved().graph.groups}
    assert groups == {"work": ("work",), "rest": ("source", "sink")}


def test_offline_nothing_is_due_and_every_edge_blocks_in_order() -> None:
    p, source, work, sink = chain()
    p.deadline("d", source, sink, within=ms, on_miss=OnMiss.SHED, firm=(1, 2))
    p.rate_deadline("r", work, within=s)
    p.add("other", Source(), restart=Restart.TEMPORARY, hang_timeout=2 * s)
    graph = p.definition().graph.offline()
    assert [(path.within_ns, path.firm, path.on_miss) for path in graph.deadlines] == [(None, None, OnMiss.DELIVER)]
    assert graph.rates == ()
    assert {(edge.overflow, edge.order) for edge in graph.edges} == {(Overflow.BLOCK, Order.FIFO)}


# -------------------------------------------------------------------------------------------- real time


def test_what_a_stage_asks_of_the_machine_is_in_its_definition() -> None:
    p = Pipeline("asks")
    asked = RealTime(cpus={0}, priority=20, lock_memory=True)
    p.connect(p.add("source", Source()), p.add("sink", Sink(), realtime=asked))
    assert p.definition().graph.stage("sink").realtime == asked
    assert p.definition().graph.stage("source").realtime is None
    p.check()


def test_what_no_machine_could_give_is_told_with_all_that_is_wrong() -> None:
    p = Pipeline("asks")
    source = p.add("source", Source(), realtime=RealTime(priority=100))
    p.connect(source, p.add("sink", Sink(), realtime=RealTime(cpus={100_000})))
    first, second = faults_of(p)
    assert first == "stage source: realtime priority 100, expected 1 to 99, or None"
    assert second.startswith("stage sink: realtime cpus 100000, expected some of cpus 0")


def test_how_long_a_stage_waits_awake_and_how_an_edge_travels_are_checked() -> None:
    p = Pipeline("awake")
    source = p.add("source", Source(), spin=11_000_000)
    p.connect(source, p.add("sink", Sink(), spin=200_000), link="pigeon")
    with pytest.raises(PipelineError) as told:
        p.check()
    assert str(told.value).splitlines() == [
        "stage source: spin 11000000, expected whole nanoseconds, 0 to 10,000,000, as in spin=200 * us",
        "edge source->sink: link 'pigeon', expected None or 'direct'",
    ]
    q = Pipeline("awake")
    q.connect(q.add("source", Source()), q.add("sink", Sink(), spin=200_000), link="direct")
    graph = q.definition().graph
    assert graph.stage("sink").spin_ns == 200_000
    assert graph.edges[0].is_direct


class Two(Node):
    camera, imu = In("int64[]"), In("int64[]")
    out = Out("int64[]")

    def process(self, *, camera: Any, imu: Any) -> Any: ...


JOIN_FAULTS = {
    "stage both: join 'nearest', expected a policy of streamflow.joins; as in join=joins.Nearest(trigger='camera')": (
        "nearest"
    ),
    "stage both: join Nearest: trigger names 'cam', expected one of camera, imu": Nearest(trigger="cam"),
    "stage both: join Nearest: max_skew 0.02, expected whole nanoseconds above 0, as in max_skew=20 * ms": Nearest(
        trigger="camera",
        max_skew=0.02,  # type: ignore[arg-type]
    ),
    "stage both: join Settled: max_age names 'gps', expected one of camera, imu": Settled(max_age={"gps": 1 * s}),
    "stage both: join Settled: late names 'spare', expected one of out": Settled(late="spare"),
    "stage both: join Latest: neither or both of trigger and every, expected one of them": Latest(),
    "stage both: join Window: span 0, expected whole nanoseconds above 0, as in span=100 * ms": Window(span=0),
    "stage both: join Approximate: queue_size 0, expected 1 to 65,536": Approximate(queue_size=0),
    "stage both: join Exact: disorder or idle_timeout, expected neither: `exact` compares what comes first": Exact(
        idle_timeout=1 * s
    ),
    "stage both: join Interpolate: blend 'linear', expected one of Blend.LINEAR, Blend.HOLD, Blend.SLERP": Interpolate(
        every=10 * ms,
        blend="linear",  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("sentence", JOIN_FAULTS)
def test_what_is_wrong_with_a_join_is_told_before_anything_starts(sentence: str) -> None:
    p = Pipeline("p")
    source = p.add("source", Source())
    both = p.add("both", Two(), join=JOIN_FAULTS[sentence])  # type: ignore[arg-type]
    p.connect(source, both.camera)
    p.connect(source, both.imu)
    p.connect(both, p.add("sink", Sink()))
    with pytest.raises(PipelineError) as told:
        p.check()
    assert sentence in [str(fault) for fault in told.value.faults]


def test_a_join_where_nothing_comes_together_is_told() -> None:
    p = Pipeline("p")
    p.connect(p.add("source", Source()), p.add("sink", Sink(), join=Exact()))
    with pytest.raises(PipelineError) as told:
        p.check()
    assert [str(fault) for fault in told.value.faults] == [
        "stage sink: a join, but Sink has no process() that takes several inputs together, "
        "expected several In ports and one process()"
    ]


def test_a_node_says_how_its_inputs_come_together_and_the_pipeline_may_say_otherwise() -> None:
    class Own(Two):
        join = Nearest(trigger="camera")

    p = Pipeline("p")
    p.add("own", Own())
    p.add("other", Own(), join=Settled())
    stages = p.definition().graph.stages
    assert [stage.join for stage in stages] == [Nearest(trigger="camera"), Settled()]


class Net(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process_batch(self, messages: Any) -> Any: ...


class NetOrOne(Net):
    def process(self, message: Message) -> Any: ...


BATCH_FAULTS: dict[str, Any] = {
    "stage net: batch 8, expected a Batch; as in batch=Batch(size_max=8)": 8,
    "stage net: batch: size_max 0, expected a whole number, 1 to 4,096": Batch(0),
    "stage net: batch: fill 'full', expected Fill.UP_TO, Fill.FULL": Batch(fill="full"),  # type: ignore[arg-type]
    "stage net: batch: timing 1, expected Timing.EAGER, Timing.LAZY": Batch(timing=1),  # type: ignore[arg-type]
    "stage net: batch: patience 0.1, expected whole nanoseconds, more than 0; as in patience=100 * ms": Batch(
        patience=0.1,  # type: ignore[arg-type]
    ),
    "stage net: batch: queue_size 4, expected a whole number, 8 (size_max) to 65,536; a batch is chosen from what "
    "waits": Batch(8, queue_size=4),
    "stage net: batch: buckets (1, 4), expected sizes of at least 1, ascending, the last 8": Batch(8, buckets=(1, 4)),
    "stage net: batch: known {3: 1}, expected nanoseconds by size, each one of 1, 2, 4, 8; as in known={8: 4 * ms}": (
        Batch(8, buckets=(1, 2, 4, 8), known={3: 1})
    ),
    "stage net: batch: fill FULL, and Net carries something from one datum of a stream to the next, expected "
    "stateful = False; a batch has one datum of a stream, and might never be full; fill UP_TO, or size_max 1": Batch(
        fill=Fill.FULL
    ),
}


@pytest.mark.parametrize("sentence", BATCH_FAULTS)
def test_what_is_wrong_with_a_batch_is_told_before_anything_starts(sentence: str) -> None:
    p = Pipeline("p")
    net = p.add("net", Net(), batch=BATCH_FAULTS[sentence])
    p.connect(p.add("source", Source()), net)
    p.connect(net, p.add("sink", Sink()))
    with pytest.raises(PipelineError) as told:
        p.check()
    assert [str(fault) for fault in told.value.faults] == [sentence]


def test_who_cannot_work_on_several_at_once_is_told() -> None:
    class Several(Net):
        other = In("int64[]")

    class Untold(Net):
        def process_batch(self) -> Any: ...

    p = Pipeline("p")
    source = p.add("source", Source())
    p.connect(source, p.add("sink", Sink(), batch=Batch()))
    several, untold = p.add("several", Several()), p.add("untold", Untold())
    for port in (several.number, several.other, untold):
        p.connect(source, port)
    with pytest.raises(PipelineError) as told:
        p.check()
    assert [str(fault) for fault in told.value.faults] == [
        "stage sink: a batch, but Sink has no process_batch() that takes several data at once, expected "
        "process_batch(self, messages); it returns one result for each, in order",
        "stage several: Several has process_batch() and 2 In ports, expected one In port; bring the streams together "
        "in a stage before it",
        "stage untold: Untold has process_batch(self), expected process_batch(self, messages)",
    ]


def test_a_node_says_how_its_data_come_in_batches_and_the_pipeline_may_say_otherwise() -> None:
    class Own(NetOrOne):
        batch = Batch(4)

    p = Pipeline("p")
    p.add("plain", Net())
    p.add("own", Own())
    p.add("said", Own(), batch=Batch(2))
    p.add("alone", Own(), batch=Batch(1))
    p.add("only", Net(), batch=Batch(1))
    found = {stage.name: stage.batch for stage in p.definition().graph.stages}
    assert found == {"plain": Batch(), "own": Batch(4), "said": Batch(2), "alone": None, "only": Batch(1)}
