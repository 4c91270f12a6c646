"""What can be wrong with the stages of a pipeline, found before anything starts, each fault one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow import In, Message, Node, Pipeline
from tests.core.graph_nodes import Sink, Source, Through, chain, fault, faults, resolved


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
