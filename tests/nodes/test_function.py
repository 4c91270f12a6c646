"""A function of one's own as a node."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.infer import Function
from streamflow import InputError, Message
from streamflow.testing import drive


def test_a_function_is_called_with_every_array():
    node = Function(lambda x: x * 2, input="float32[n]", output="float32[n]")
    assert [array.tolist() for array in drive(node, [np.ones(2, np.float32), np.zeros(1, np.float32)]).arrays] == [
        [2, 2],
        [0],
    ]


def test_the_state_is_given_back_with_the_next_array_and_each_stream_has_its_own():
    def running_sum(x, total):
        total = total + x
        return total, total

    start = np.zeros(2)
    node = Function(running_sum, input="float64[n]", output="float64[n]", state=start)
    data = [Message({"x": np.ones(2) * k}, stream) for k, stream in ((1, "a"), (10, "b"), (2, "a"), (20, "b"))]
    assert [array[0] for array in drive(node, data).arrays] == [1, 10, 3, 30]
    assert node.state("b").tolist() == [30, 30]


def test_the_initial_state_is_copied_so_that_a_function_may_write_into_it():
    def count(x, state):
        state += 1
        return state.copy(), state

    start = np.zeros(1)
    node = Function(count, input="any[...]", output="float64[1]", state=start)
    data = [Message({"x": np.ones(1)}, stream) for stream in ("a", "a", "b")]
    assert [array[0] for array in drive(node, data).arrays] == [1, 2, 1]
    assert start[0] == 0


def test_none_sends_nothing():
    node = Function(lambda x: x if x > 1 else None, input="float64[]", output="float64[]")
    assert [float(array) for array in drive(node, [np.array(1.0), np.array(2.0)]).arrays] == [2.0]


def test_several_inputs_are_given_by_name_and_several_outputs_returned_by_name():
    node = Function(
        lambda left, right, state: ({"sum": left + right, "count": np.array(state + 1)}, state + 1),
        inputs={"left": "float64[n]", "right": "float64[n]"},
        outputs={"sum": "float64[n]", "count": "int64[]"},
        state=0,
    )
    sent = drive(node, {"left": [np.ones(1)] * 2, "right": [np.ones(1)] * 2})
    assert [message.array.tolist() for message in sent["sum"]] == [[2], [2]]
    assert [int(message.array) for message in sent["count"]] == [1, 2]


def test_the_rate_of_the_result_may_be_the_input_s():
    node = Function(lambda x: x, input="any[n]", output="any[n]", rate_hz="input")
    assert node.outputs()["output"].rate_from == "input"


def test_a_function_with_state_that_returns_no_pair_is_named_as_the_fault():
    node = Function(lambda x, state: x, input="any[n]", output="any[n]", state=0)
    with pytest.raises(TypeError, match="f returned a ndarray, expected"):
        drive(node, [np.ones(2)])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"input": "any[n]"},
        {"input": "any[n]", "inputs": {"x": "any[n]"}, "output": "any[n]"},
        {"inputs": {"x": "any[n]"}, "outputs": {"x": "any[n]"}},
        {"inputs": {"state": "any[n]"}, "output": "any[n]", "state": 0},
    ],
)
def test_ports_that_make_no_sense_are_refused(settings):
    with pytest.raises(InputError, match="Function"):
        Function(lambda x: x, **settings)
