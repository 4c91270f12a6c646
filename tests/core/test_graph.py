"""Everything that can be wrong with a pipeline, found before anything starts, each fault one sentence."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from streamflow import In, InputError, Message, Node, Out, Overflow, Pipeline, PipelineError
from streamflow.core.graph import CAPACITY_LIMIT, Resolved


class Source(Node):
    """Sends whatever type it is told to."""

    def __init__(self, sends: str = "float32[time]", rate_hz: float | None = None, port: str = "samples") -> None:
        setattr(self, port, Out(sends, rate_hz=rate_hz))

    async def run(self) -> None: ...


class Sink(Node):
    """Takes whatever type it is told to."""

    def __init__(self, takes: str = "float32[time]", rate_hz: float | None = None) -> None:
        self.samples = In(takes, rate_hz=rate_hz)

    def process(self, message: Message) -> None: ...


class Through(Node):
    """One in, one out, of the types it is told."""

    def __init__(self, takes: str = "float32[time]", sends: str = "float32[time]", keeps_rate: bool = False) -> None:
        self.samples = In(takes)
        self.result = Out(sends, rate_hz="samples" if keeps_rate else None)

    def process(self, message: Message) -> Any: ...


class Pair(Node):
    left = In("float32[n]")
    right = In("float32[n]")
    both = Out("float32[2, n]")

    def process(self, *, left: Message, right: Message) -> Any: ...


class Unreadable(Node):
    """Its file is missing, so that its ports stay unknown."""

    def inspect(self) -> None:
        raise InputError("model.onnx", "no such file")

    def process(self, message: Message) -> None: ...


def faults(p: Pipeline) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        p.check()
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return str(caught.value).splitlines()


def fault(p: Pipeline) -> str:
    (sentence,) = faults(p)
    return sentence


def resolved(p: Pipeline) -> Resolved:
    return p.definition().resolved()


def chain(*nodes: Node) -> Pipeline:
    """Stages a, b, c, ... each joined to the next by their only ports."""
    p = Pipeline("test")
    stages = [p.add(name, node) for name, node in zip("abcdefgh", nodes, strict=False)]
    for sender, receiver in pairwise(stages):
        p.connect(sender, receiver)
    return p


# --------------------------------------------------------------------------------------------------- stages


def test_a_pipeline_without_stages_is_refused() -> None:
    assert fault(Pipeline("empty")) == (
        "pipeline empty: no stages, expected at least one; add one with p.add(name, node)"
    )


def test_a_pipeline_in_which_nothing_would_ever_flow_is_refused() -> None:
    p = chain(Through(), Sink())
    assert "pipeline test: no source, expected a stage with run(); nothing would ever flow" in faults(p)


def test_two_stages_of_one_name_are_a_fault() -> None:
    p = Pipeline("test")
    p.add("mic", Source())
    p.add("mic", Source())
    assert fault(p) == "stage mic: 2 stages of this name, expected one; name them apart"


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "0", "x" * 65])
def test_a_name_that_could_not_be_a_files_name_is_a_fault(name: str) -> None:
    p = Pipeline("test")
    p.add(name, Source(), process="p")
    assert fault(p) == (
        f"stage {name!r}: not a valid name, expected letters, digits, '_' or '-', at most 64, the first a letter or '_'"
    )


def test_a_bad_name_that_is_the_processs_too_is_told_once() -> None:
    p = Pipeline("test")
    p.add("a b", Source())
    p.add("c", Source(), process="d e")
    p.add("f", Source(), process="d e")
    assert [sentence.split(",")[0] for sentence in faults(p)] == [
        "stage 'a b': not a valid name",
        "process 'd e': not a valid name",
    ]


def test_a_node_that_another_stage_has_is_a_fault() -> None:
    p = Pipeline("test")
    source = Source()
    p.add("a", source)
    p.add("b", source)
    assert fault(p) == "stage b: a node that another stage has, expected a node of its own"


def test_what_is_no_node_is_a_fault() -> None:
    p = chain(Source())
    p.add("gain", 3.0)  # type: ignore[arg-type]
    assert fault(p) == "stage gain: a float, expected a Node; subclass streamflow.Node"


def test_a_class_in_place_of_its_node_is_a_fault_and_the_only_one() -> None:
    p = Pipeline("test")
    t, through = p.add("t", Source), p.add("through", Through)  # type: ignore[arg-type]
    p.connect(t, p.add("b", Sink()))
    p.connect(t.samples, through)
    p.connect(through.anything, p.add("c", Sink()))
    assert faults(p) == [
        "stage t: the class Source itself, expected a node; write Source(...)",
        "stage through: the class Through itself, expected a node; write Through(...)",
    ]


def test_a_source_with_inputs_is_a_fault() -> None:
    class Confused(Source):
        samples_in = In("float32[time]")

    p = Pipeline("test")
    a, b = p.add("a", Source()), p.add("b", Confused())
    p.connect(a, b)
    assert fault(p) == (
        "stage b: Confused has run() and the inputs samples_in, expected a source has no inputs; "
        "write process() for what arrives"
    )


def test_a_node_that_neither_runs_nor_takes_anything_is_a_fault() -> None:
    p = chain(Source())
    p.add("idle", Node())
    assert fault(p) == "stage idle: Node has neither run() nor an In port, expected a source or an input"


def test_an_input_without_a_handler_is_a_fault() -> None:
    class Half(Node):
        left = In("any[...]")
        right = In("any[...]")

        def process_left(self, message: Message) -> None: ...

    p = Pipeline("test")
    source, half = p.add("a", Source()), p.add("half", Half())
    p.connect(source, half.left)
    p.connect(source, half.right)
    assert fault(p) == "stage half: Half has no way to handle right, expected process or process_right"


def of_one_input(process: Any) -> Pipeline:
    """A source joined to a node with this `process`."""
    return chain(Source(), type("Custom", (Node,), {"samples": In("any[...]"), "process": process})())


def of_two_inputs(process: Any) -> Pipeline:
    """Two sources joined to a node with this `process`."""
    node = type("Custom", (Node,), {"left": In("any[...]"), "right": In("any[...]"), "process": process})()
    p = Pipeline("test")
    joined = p.add("b", node)
    p.connect(p.add("x", Source()), joined.left)
    p.connect(p.add("y", Source()), joined.right)
    return p


@pytest.mark.parametrize(
    ("process", "found"),
    [
        (lambda self: None, "self"),
        (lambda self, message, gain: None, "self, message, gain"),
        (lambda self, *, message: None, "self, *, message"),
    ],
)
def test_a_process_that_cannot_take_its_message_is_a_fault(process: Any, found: str) -> None:
    assert fault(of_one_input(process)) == f"stage b: Custom has process({found}), expected process(self, message)"


@pytest.mark.parametrize(
    ("process", "found"),
    [
        (lambda self, message: None, "self, message"),
        (lambda self, *, left, rigth: None, "self, *, left, rigth"),
        (lambda self, *, left: None, "self, *, left"),
        (lambda self, left, right, /: None, "self, left, right, /"),
    ],
)
def test_a_joined_process_whose_parameters_are_not_its_inputs_is_a_fault(process: Any, found: str) -> None:
    assert (
        fault(of_two_inputs(process)) == f"stage b: Custom has process({found}), expected process(self, *, left, right)"
    )


def test_any_signature_that_can_take_the_messages_is_fine() -> None:
    for one in (lambda self, *args: None, lambda self, m, gain=1.0, **rest: None, staticmethod(lambda m: None), print):
        resolved(of_one_input(one))
    for two in (lambda self, left, right: None, lambda self, **named: None, lambda self, *, right, left, gain=1: None):
        resolved(of_two_inputs(two))


def test_the_handler_of_a_port_and_run_are_looked_at_too() -> None:
    class Half(Node):
        left = In("any[...]")

        def process_left(self) -> None: ...

    class Late(Source):
        async def run(self, seconds: float) -> None: ...  # type: ignore[override]

    p = Pipeline("test")
    p.connect(p.add("a", Late()), p.add("half", Half()))
    assert faults(p) == [
        "stage a: Late has run(self, seconds), expected run(self)",
        "stage half: Half has process_left(self), expected process_left(self, message)",
    ]


# ---------------------------------------------------------------------------------------------------- edges


def test_an_unknown_port_is_told_with_those_there_are_and_the_nearest() -> None:
    p = Pipeline("test")
    a, b = p.add("a", Source()), p.add("b", Sink())
    p.connect(a.sampels, b)
    assert faults(p) == [
        "edge a.sampels->b: Source has no output sampels, expected one of samples; did you mean samples?"
    ]


def test_an_input_that_a_wrong_edge_was_meant_for_is_not_blamed_as_well() -> None:
    p = Pipeline("test")
    a, pair = p.add("a", Source()), p.add("pair", Pair())
    p.connect(a.sampels, pair.left)
    assert [sentence.split(":")[0] for sentence in faults(p)] == ["edge a.sampels->pair.left", "input pair.right"]
    p.connect(a, pair.rigth)
    assert [sentence.split(":")[0] for sentence in faults(p)] == ["edge a.sampels->pair.left", "edge a->pair.rigth"]


def test_a_port_used_the_wrong_way_round_is_a_fault() -> None:
    p = Pipeline("test")
    a, b = p.add("a", Source()), p.add("b", Sink())
    p.connect(b.samples, a.samples)
    assert faults(p) == [
        "edge b.samples->a.samples: b.samples is an input, expected an output; connect(from, to)",
        "edge b.samples->a.samples: a.samples is an output, expected an input; connect(from, to)",
    ]


def test_a_stage_that_was_never_added_is_a_fault() -> None:
    other = Pipeline("other").add("micro", Source())
    p = Pipeline("test")
    p.add("mic", Source())
    p.connect(other, p.add("b", Sink()))
    assert fault(p) == "edge micro->b: no stage micro, expected one of mic, b; did you mean mic?"


def test_a_stage_with_several_ports_must_be_connected_by_name() -> None:
    p = Pipeline("test")
    a, pair = p.add("a", Source()), p.add("pair", Pair())
    p.connect(a, pair)
    assert fault(p) == "edge a->pair: pair has 2 inputs, expected one input; name one, as in pair.left"


def test_an_input_left_unconnected_is_a_fault() -> None:
    p = Pipeline("test")
    p.connect(p.add("a", Source()), p.add("pair", Pair()).left)
    assert fault(p) == "input pair.right: not connected, expected a sender of float32[n]; p.connect(..., pair.right)"


def test_an_input_connected_twice_is_a_fault() -> None:
    p = Pipeline("test")
    b = p.add("b", Sink())
    p.connect(p.add("x", Source()), b)
    p.connect(p.add("y", Source()), b)
    assert fault(p) == (
        "input b.samples: connected 2 times, from x.samples and y.samples, expected one sender; "
        "give the node an input for each"
    )


def test_a_cycle_is_printed_as_it_flows() -> None:
    class Loop(Node):
        new = In("float32[time]")
        old = In("float32[time]")
        mixed = Out("float32[time]")

        def process(self, *, new: Message, old: Message) -> Any: ...

    p = Pipeline("test")
    source, loop, back = p.add("source", Source()), p.add("loop", Loop()), p.add("back", Through())
    p.connect(source, loop.new)
    p.connect(loop, back)
    p.connect(back, loop.old)
    sentence = fault(p)
    assert sentence.startswith("graph: a cycle ")
    assert "loop -> back -> loop" in sentence or "back -> loop -> back" in sentence
    assert sentence.endswith("; feedback needs an edge with a declared delay, which is not available yet")


def test_a_stage_that_feeds_itself_is_a_cycle() -> None:
    p = chain(Source())
    b = p.add("b", Through())
    p.connect(b, b)
    assert "a cycle b -> b" in fault(p)


@pytest.mark.parametrize("capacity", [0, -1, CAPACITY_LIMIT + 1])
def test_a_capacity_out_of_range_is_a_fault(capacity: int) -> None:
    p = Pipeline("test")
    p.connect(p.add("a", Source()), p.add("b", Sink()), capacity=capacity)
    assert fault(p) == f"edge a->b: capacity {capacity}, expected 1 to 65,536"


def test_an_overflow_that_is_no_policy_is_a_fault() -> None:
    p = Pipeline("test")
    p.connect(p.add("a", Source()), p.add("b", Sink()), overflow="latest")  # type: ignore[arg-type]
    assert fault(p).startswith("edge a->b: overflow 'latest', expected Overflow.BLOCK, ")


def test_connecting_what_is_no_stage_is_a_fault() -> None:
    p = chain(Source())
    p.connect("a", p.add("b", Sink()))  # type: ignore[arg-type]
    assert faults(p)[0] == "connect: a str as the source, expected a stage or its port"


# ---------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("sent", "taken", "sentence"),
    [
        ("float64[256]", "float32[256]", "float64[256] sent, float32[256] expected"),
        ("float32[256]", "float32[512]", "float32[256] sent, float32[512] expected"),
        ("float32[2, 256]", "float32[time]", "float32[2, 256] sent, float32[time] expected"),
        ("int16[9]", "float32|float64[n]", "int16[9] sent, float32|float64[n] expected"),
    ],
)
def test_what_is_sent_must_be_what_is_expected(sent: str, taken: str, sentence: str) -> None:
    assert fault(chain(Source(sent), Sink(taken))) == f"edge a.samples->b.samples: {sentence}"


def test_a_size_flows_through_a_node_by_its_name() -> None:
    p = chain(Source("float32[2, 256]"), Through("float32[channels, time]", "float32[channels]"), Sink("float32[3]"))
    assert fault(p) == "edge b.result->c.samples: float32[2] sent, float32[3] expected"


def test_a_size_flows_through_many_nodes() -> None:
    p = chain(Source("float32[7]"), *[Through("float32[n]", "float32[1, n]"), Through("float32[a, b]", "float32[b]")])
    result = resolved(p)
    assert str(result.output_types["c", "result"]) == "float32[7]"
    assert result.order == ("a", "b", "c")


def test_the_inputs_of_a_node_share_its_names() -> None:
    p = Pipeline("test")
    pair = p.add("pair", Pair())
    p.connect(p.add("x", Source("float32[3]")), pair.left)
    p.connect(p.add("y", Source("float32[4]")), pair.right)
    assert fault(p) == "edge y.samples->pair.right: float32[4] sent, float32[n] (n = 3) expected"


def test_another_sampling_rate_is_a_fault_with_the_node_that_mends_it() -> None:
    assert fault(chain(Source(rate_hz=8000), Sink(rate_hz=16000))) == (
        "edge a.samples->b.samples: 8000 Hz sent, 16000 Hz expected; put nodes.preprocess.Resample(8000, 16000) between"
    )


def test_a_rate_flows_through_a_node_that_keeps_it() -> None:
    p = chain(Source(rate_hz=8000), Through(keeps_rate=True), Sink(rate_hz=16000))
    assert fault(p).startswith("edge b.result->c.samples: 8000 Hz sent, 16000 Hz expected")
    p = chain(Source(rate_hz=8000), Through(), Sink(rate_hz=16000))
    assert resolved(p).input_types["c", "samples"].rate_hz == 16000


# ------------------------------------------------------------------------------------------- all at once


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
    assert [edge.overflow for edge in resolved(p).graph.lossless().edges] == [Overflow.BLOCK]


def test_a_schema_differs_where_the_ends_could_not_talk_to_each_other() -> None:
    def schema(sends: str = "float32[3]", capacity: int = 8, name: str = "test") -> str:
        p = Pipeline(name)
        p.connect(p.add("a", Source(sends)), p.add("b", Sink("any[...]")), capacity=capacity)
        result = resolved(p)
        return result.schema(result.graph.edges[0])

    assert schema() == schema()
    assert len({schema(), schema("float32[4]"), schema(capacity=9), schema(name="other")}) == 4
