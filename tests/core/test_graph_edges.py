"""What can be wrong with the edges of a pipeline and the types on them, each fault one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow import Batch, In, Message, Node, Out, Overflow, Pipeline
from streamflow.core.resolution import CAPACITY_LIMIT
from tests.core.graph_nodes import Pair, Sink, Source, Through, chain, fault, faults, resolved


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
    assert sentence.endswith("; an edge that leads back says p.connect(..., delay=1, initial=...)")


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


def lossless(**settings: Any) -> Pipeline:
    p = Pipeline("test")
    a, b = p.add("a", Source(), process=settings.pop("process", None)), p.add("b", Sink(), process="b")
    p.connect(a, b, lossless=True, **settings)
    return p


def test_a_lossless_edge_waits_for_room() -> None:
    assert fault(lossless(overflow=Overflow.LATEST)) == (
        "edge a.samples->b.samples, lossless: overflow LATEST, expected BLOCK; the others give up data"
    )


def test_a_lossless_edge_gives_up_nothing_because_of_its_age() -> None:
    assert fault(lossless(max_age=50_000_000)) == (
        "edge a.samples->b.samples, lossless: max_age, expected none; it gives up data"
    )


def test_a_lossless_edge_leads_from_one_process_to_another() -> None:
    assert fault(lossless(process="b")) == (
        "edge a.samples->b.samples, lossless: both its stages in process b, which go down together, "
        'expected stages in processes of their own; process="a" where a is added'
    )


def test_who_shares_a_process_by_its_device_alone_is_told_so() -> None:
    p = Pipeline("test")
    a, b = p.add("a", Through("float32[n]", "float32[n]"), device="cuda:0"), p.add("b", Sink(), device="cuda:0")
    p.connect(p.add("source", Source()), a)
    p.connect(a, b, lossless=True)
    assert fault(p).endswith('; process="b" where b is added: stages of one GPU share one where nothing is said')


class Batched(Sink):
    """Works on several data at once, or on one."""

    batch = Batch(8)

    def process_batch(self, messages: Any) -> list[None]:
        return [None] * len(messages)


def test_a_lossless_edge_leads_to_a_stage_without_batches() -> None:
    def to(**settings: Any) -> Pipeline:
        p = Pipeline("test")
        p.connect(p.add("a", Source()), p.add("b", Batched(), **settings), lossless=True)
        return p

    hint = "batch=Batch(1) where it is added, and a process() beside its process_batch()"
    assert fault(to()).endswith(f"works on batches, expected a stage that works on each datum by itself; {hint}")
    resolved(to(batch=Batch(1)))


def test_a_lossless_edge_leads_to_a_stage_that_holds_nothing_back() -> None:
    p = Pipeline("test")
    a, other, pair = p.add("a", Source()), p.add("other", Source()), p.add("pair", Pair())
    p.connect(a, pair.left, lossless=True)
    p.connect(other, pair.right)
    assert fault(p) == (
        "edge a.samples->pair.left, lossless: pair, which joins it with others, "
        "expected a stage that works on each datum by itself"
    )


def test_what_is_no_truth_is_not_lossless() -> None:
    p = Pipeline("test")
    p.connect(p.add("a", Source()), p.add("b", Sink()), lossless=1)  # type: ignore[arg-type]
    assert fault(p) == "edge a->b: lossless 1, expected True or False"
