"""All that is wrong with a pipeline is told at once; and what a graph without faults says."""

from __future__ import annotations

from streamflow import Overflow, Pipeline
from tests.core.graph_nodes import Pair, Sink, Source, Through, Unreadable, chain, fault, faults, resolved


def test_every_fault_is_told_at_once() -> None:
    p = Pipeline("test")
    a, b = p.add("a", Source("float64[4]", rate_hz=10)), p.add("b", Sink())
    p.add("b", Sink())
    pair = p.add("pair", Pair())
    p.connect(a, b)
    p.connect(a.nothing, pair.left)
    p.connect(a, pair.right, capacity=0)
    told = faults(p)
    for part in (
        "stage b: 2 stages of this name",
        "edge a.nothing->pair.left: Source has no output nothing",
        "edge a->pair.right: capacity 0",
        "edge a.samples->b.samples: float64[4] sent, float32[time] expected",
        "edge a.samples->pair.right: float64[4] sent, float32[n] expected",
    ):
        assert [sentence for sentence in told if sentence.startswith(part)], part
    assert len(told) == 5


def test_of_a_stage_that_could_not_be_inspected_only_that_is_told() -> None:
    p = Pipeline("test")
    source, model, sink = p.add("source", Source()), p.add("model", Unreadable()), p.add("sink", Sink())
    p.connect(source, model)
    p.connect(source, model.state)
    p.connect(model.probability, sink)
    assert fault(p) == "stage model: model.onnx: no such file"


def test_the_rest_of_the_graph_is_judged_beside_a_stage_that_could_not_be_inspected() -> None:
    p = Pipeline("test")
    source, model, sink = p.add("source", Source("float64[2]")), p.add("model", Unreadable()), p.add("sink", Sink())
    after = p.add("after", Through("float32[n]", "float32[n]"))
    p.connect(source, model)
    p.connect(model, after)
    p.connect(source, sink)
    p.add("unfed", Sink())
    told = faults(p)
    assert told[0] == "stage model: model.onnx: no such file"
    assert [sentence.split(":")[0] for sentence in told[1:]] == [
        "input unfed.samples",
        "edge source.samples->sink.samples",
    ]


def test_a_bug_in_inspect_is_a_fault_that_says_where() -> None:
    class Broken(Source):
        def inspect(self) -> None:
            raise RuntimeError("no driver")

    p = Pipeline("test")
    p.add("mic", Broken())
    assert fault(p).startswith(f"stage mic: inspect() raised RuntimeError: no driver ({__file__}:")


# --------------------------------------------------------------------------------------- a graph without faults


def test_the_ports_of_an_edge_are_named_once_resolved() -> None:
    (edge,) = resolved(chain(Source(), Sink())).graph.edges
    assert edge.name == "a.samples->b.samples"


def test_stages_of_one_process_share_it_and_the_others_have_their_own() -> None:
    p = Pipeline("test")
    p.add("a", Source(), process="near")
    p.add("b", Source())
    p.add("c", Source(), process="near")
    assert resolved(p).graph.processes() == {"near": ["a", "c"], "b": ["b"]}


def test_sources_are_found_through_every_path() -> None:
    p = Pipeline("test")
    x, y, pair = p.add("x", Source()), p.add("y", Source()), p.add("pair", Pair())
    through = p.add("through", Through())
    p.connect(x, through)
    p.connect(through, pair.left)
    p.connect(y, pair.right)
    graph = resolved(p).graph
    assert graph.sources_of("pair") == {"x", "y"}
    assert graph.sources_of("through") == {"x"}
    assert graph.sinks() == ["pair"]
    assert graph.unused_outputs() == [("pair", "both")]


def test_offline_every_edge_blocks() -> None:
    p = Pipeline("test")
    p.connect(p.add("a", Source()), p.add("b", Sink()), overflow=Overflow.LATEST)
    assert [edge.overflow for edge in resolved(p).graph.offline().edges] == [Overflow.BLOCK]


def test_a_schema_differs_where_the_ends_could_not_talk_to_each_other() -> None:
    def schema(sends: str = "float32[3]", capacity: int = 8, name: str = "test") -> str:
        p = Pipeline(name)
        p.connect(p.add("a", Source(sends)), p.add("b", Sink("any[...]")), capacity=capacity)
        result = resolved(p)
        return result.schema(result.graph.edges[0])

    assert schema() == schema()
    assert len({schema(), schema("float32[4]"), schema(capacity=9), schema(name="other")}) == 4
