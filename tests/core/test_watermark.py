"""How far event time has come at a stage, and on which edges somebody wants to know."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow import In, Node, Out, Pipeline
from streamflow.core.watermark import NEVER, Watermarks, timed_edges
from streamflow.joins import Settled
from streamflow.testing import Ticks


def test_the_watermark_is_the_least_of_the_inputs_and_one_that_has_ended_holds_it_no_longer() -> None:
    watermarks = Watermarks(["a", "b"])
    watermarks.handled("a", 10)
    assert watermarks.merged_ns == NEVER
    watermarks.advance("b", 7)
    assert watermarks.merged_ns == 7
    watermarks.end("b")
    assert watermarks.merged_ns == 10


def test_data_out_of_order_promise_nothing_any_more_but_their_sender_may() -> None:
    watermarks = Watermarks(["a"])
    for event_time_ns in (10, 30, 20, 50):
        watermarks.handled("a", event_time_ns)
    assert watermarks.merged_ns == 30
    watermarks.advance("a", 40)
    assert watermarks.merged_ns == 40


@given(st.lists(st.tuples(st.sampled_from(["handled", "advance"]), st.sampled_from("abc"), st.integers(0, 50))))
def test_it_never_goes_back_and_is_never_ahead_of_an_input(steps: list[tuple[str, str, int]]) -> None:
    watermarks = Watermarks("abc")
    told = dict.fromkeys("abc", NEVER)
    for step, name, event_time_ns in steps:
        before_ns = watermarks.merged_ns
        getattr(watermarks, step)(name, event_time_ns)
        told[name] = max(told[name], event_time_ns)
        assert watermarks.merged_ns >= before_ns
        assert all(watermarks.merged_ns <= newest_ns for newest_ns in told.values())


class Pass(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: object) -> None: ...


class Fuse(Node):
    left, right = In("int64[]"), In("int64[]")
    out = Out("int64[]")

    def process(self, *, left: object, right: object) -> None: ...


def test_the_edges_from_which_data_come_to_a_join_by_event_time_are_timed_and_no_others() -> None:
    p = Pipeline("p")
    source, thin, exact = p.add("source", Ticks(10, 5)), p.add("thin", Pass()), p.add("exact", Fuse())
    fused, sink = p.add("fused", Fuse(), join=Settled()), p.add("sink", Pass())
    p.connect(source, thin)
    p.connect(thin, exact.left)
    p.connect(source, exact.right)
    p.connect(exact, fused.left)
    p.connect(source, fused.right)
    p.connect(fused, sink)
    timed = timed_edges(p.definition().resolved().graph)
    assert timed == {
        "source.number->thin.number",
        "thin.out->exact.left",
        "source.number->exact.right",
        "exact.out->fused.left",
        "source.number->fused.right",
    }
