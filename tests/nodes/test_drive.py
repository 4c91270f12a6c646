"""`drive` is as strict as the runtime about what goes into a node and what comes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streamflow import In, Message, Node, Out, Output
from streamflow.errors import Fault, PortError, ResultError, WireError
from streamflow.joins import Nearest
from streamflow.testing import drive


class Returns(Node):
    """Returns what it is told, whatever comes."""

    x = In("float32[2]")
    y = Out("float32[]")

    def __init__(self, result=None):
        self.result = result

    def process(self, message):
        return self.result


class Named(Node):
    x = In(left="float32[n]", right="float32[n]")
    boxes = Out(box="float32[n, 4]", score="float32[n]")

    def process(self, message):
        return {"box": np.zeros((1, 4), np.float32)}


class Pair(Node):
    left = In("float32[n]")
    right = In("float32[n]")

    def process(self, *, left, right): ...


GOOD = [np.zeros(2, np.float32)]


def sentence(error, node, inputs):
    with pytest.raises(error) as caught:
        drive(node, inputs)
    return str(caught.value)


@pytest.mark.parametrize(("array", "found"), [(np.zeros(2), "float64[2]"), (np.zeros(3, np.float32), "float32[3]")])
def test_what_goes_in_must_be_of_the_ports_type(array, found):
    assert sentence(PortError, Returns(), [array]) == f"stage node, port x: {found} received, expected float32[2]"
    assert issubclass(PortError, WireError)


def test_a_tensor_that_is_missing_or_cannot_be_sent_is_told():
    one = [{"left": np.zeros(1, np.float32), "rigth": np.zeros(1, np.float32)}]
    assert sentence(PortError, Named(), one) == (
        "stage node, port x: tensors left, rigth received, expected left: float32[n], right: float32[n]"
    )
    anything = type("Any", (Node,), {"x": In(), "process": lambda self, message: None})()
    assert "dtype object, expected a dtype with a plain buffer" in sentence(PortError, anything, [np.array([None])])


def test_a_single_tensor_comes_under_the_ports_name_for_it():
    class Keeps(Node):
        x = In(samples="float32[n]")

        def process(self, message):
            self.names = list(message.tensors)

    node = Keeps()
    drive(node, [Message({"other": np.zeros(2, np.float32)})])
    assert node.names == ["samples"]


@pytest.mark.parametrize(
    ("result", "found", "hint"),
    [
        (0.5, "float64[]", "; write np.float32(...)"),
        (np.float64(0.5), "float64[]", "; write np.float32(...)"),
        (np.zeros(1, np.float32), "float32[1]", ""),
        (np.array("text"), "str[]", ""),
    ],
)
def test_what_comes_out_must_be_of_the_ports_type_and_a_number_of_another_type_has_a_hint(result, found, hint):
    assert sentence(PortError, Returns(result), GOOD) == f"stage node, port y: {found} sent, expected float32[]{hint}"


def test_an_array_of_another_number_type_has_a_hint_of_its_own_unless_a_cast_would_cut_numbers_off():
    class Doubles(Returns):
        y = Out("float32[n]")

    class Counts(Returns):
        y = Out("int64[]")

    assert sentence(PortError, Counts(0.5), GOOD) == "stage node, port y: float64[] sent, expected int64[]"
    assert sentence(PortError, Doubles(np.zeros(3)), GOOD) == (
        "stage node, port y: float64[3] sent, expected float32[n]; add .astype(np.float32)"
    )


def test_a_mapping_that_names_neither_the_port_nor_its_tensors_says_what_may_be_returned():
    assert sentence(ResultError, Returns({"z": 1.0}), GOOD) == (
        "a mapping of z returned, expected the array of port y alone, or a mapping with the key y"
    )
    two = [{"left": np.zeros(1, np.float32), "right": np.zeros(1, np.float32)}]
    assert sentence(ResultError, Named(), two) == (
        "a mapping of box returned, expected a mapping of box, score, the tensors of port boxes"
    )


@pytest.mark.parametrize("name", ["seq", "event_time_ns"])
@pytest.mark.parametrize(("value", "kind"), [(np.int64(3), "numpy.int64"), (1.5, "float"), (True, "bool")])
def test_a_time_or_number_that_is_no_int_is_told_where_it_was_written(name: str, value: object, kind: str):
    class Stamps(Node):
        x = In("float32[n]")
        y = Out("float32[n]")

        def process(self, message):
            return Output(message.array, **{name: value})

    assert sentence(ResultError, Stamps(), GOOD) == f"{name} is a {kind}, expected an int; write {name}=int(...)"


def test_an_input_there_is_none_of_is_told_with_the_nearest():
    assert sentence(Fault, Pair(), {"left": [], "rigth": []}) == (
        "drive(Pair): no input rigth, expected one of left, right; did you mean right?"
    )


def test_inputs_that_are_taken_together_must_all_be_given():
    expected = "drive(Pair): nothing for right, expected a mapping of left, right, for process takes them together"
    assert sentence(Fault, Pair(), {"left": GOOD}) == expected
    assert sentence(Fault, Pair(), GOOD) == expected


def test_a_node_that_neither_runs_nor_takes_anything_is_told():
    assert sentence(Fault, Node(), GOOD) == "drive(Node): neither run() nor an In port, expected a source or an input"


def test_a_node_that_says_how_its_inputs_come_together_gets_them_so():
    class Nearest3(Pair):
        join = Nearest(trigger="right")
        both = Out("float32[2]")

        def process(self, *, left, right):
            return np.float32([left.array[0], right.array[0]])

    def sent(*times_ms):
        return [Message({"array": np.float32([time])}, "s", k, time * 1_000_000) for k, time in enumerate(times_ms)]

    driven = drive(Nearest3(), {"left": sent(0, 10, 20, 30), "right": sent(4, 16, 29)})
    assert [row.tolist() for row in driven.arrays] == [[0, 4], [20, 16], [30, 29]]
    assert driven.messages[1].attributes["skew_ms"] == 4


class Pairs(Node):
    """Says how many it got at once."""

    x = In("float32[]")
    y = Out("int64[]")

    async def process_batch(self, messages: Sequence[Message]) -> list[np.int64]:
        return [np.int64(len(messages)) for _ in messages]


class Singles(Pairs):
    stateful = False

    def process(self, message: Message) -> np.int64:
        return np.int64(0)


def _of(streams: str) -> list[Message]:
    return [Message({"x": np.float32(0)}, stream, seq) for seq, stream in enumerate(streams)]


def test_a_batch_has_one_datum_of_a_stream() -> None:
    assert [int(array) for array in drive(Pairs(), _of("abcab")).arrays] == [3, 3, 3, 2, 2]
    assert [int(array) for array in drive(Pairs(), _of("abcab"), batch=2).arrays] == [2, 2, 2, 2, 1]
    assert [message.stream for message in drive(Pairs(), _of("abcab")).messages] == list("abcab")


def test_without_state_a_batch_is_as_large_as_was_asked_and_by_default_there_is_none() -> None:
    assert [int(array) for array in drive(Singles(), _of("aaaaa"), batch=3).arrays] == [3, 3, 3, 2, 2]
    assert [int(array) for array in drive(Singles(), _of("aa")).arrays] == [0, 0]
