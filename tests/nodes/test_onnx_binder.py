"""How a model's signature and a user's words become ports, states and constants."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.infer.onnx_binder import bind, identifiers
from nodes.infer.onnx_bindings import Settings
from nodes.infer.onnx_signature import Signature, TensorSpec
from streamflow import InputError


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name, dtype, shape)


def ports(given, returned, /, **settings):
    bindings = bind(Signature(tuple(given), tuple(returned)), Settings(**settings), "m.onnx")
    return {place.port: place.type for place in (*bindings.inputs, *bindings.outputs)}


def refused(given, returned, /, **settings):
    with pytest.raises(InputError) as caught:
        ports(given, returned, **settings)
    return str(caught.value)


SILERO = (
    [spec("input", None, None), spec("state", 2, None, 128), spec("sr", dtype="int64")],
    [spec("output", None, 1), spec("stateN", None, None, None)],
)
RIANN = (
    [spec("input", 1, "sequence", 7), spec("h0", 2, 1, 1, 200)],
    [spec("output", 1, "sequence", 4), spec("hn", 2, 1, 1, 200)],
)


def test_the_batch_axis_is_no_part_of_the_ports():
    assert ports(*SILERO, state={"state": "stateN"}) == {"input": "float32[time]", "output": "float32[1]"}
    assert ports(*RIANN, state={"h0": "hn"}) == {
        "input": "float32[sequence, 7]",
        "output": "float32[sequence, 4]",
    }
    images = [spec("input.1", 1, 3, 352, 352)], [spec("758", 1, 85, 22, 22)]
    assert ports(*images) == {"input_1": "float32[3, 352, 352]", "_758": "float32[85, 22, 22]"}


def test_a_first_dimension_that_is_fixed_above_one_is_no_batch():
    assert ports([spec("x", 4, 3)], [spec("y", 1, 3)]) == {"x": "float32[4, 3]", "y": "float32[1, 3]"}


def test_a_vector_has_no_batch_axis():
    assert ports([spec("x", "n")], [spec("y", "n")]) == {"x": "float32[n]", "y": "float32[n]"}


def test_an_output_with_a_name_of_its_own_in_front_has_no_batch():
    assert ports([spec("x", "batch", 3)], [spec("boxes", "found", 6), spec("y", "batch", 2)]) == {
        "x": "float32[3]", "boxes": "float32[found, 6]", "y": "float32[2]",
    }  # fmt: skip


def test_batched_overrules_for_all_or_by_name():
    model = [spec("x", None, 3)], [spec("y", None, 2)]
    assert ports(*model, batched=False) == {"x": "float32[time, 3]", "y": "float32[y_0, 2]"}
    assert ports(*model, batched={"y": False}) == {"x": "float32[3]", "y": "float32[y_0, 2]"}


def test_batched_of_a_tensor_that_has_no_axis_for_it_is_refused():
    assert "'y' is float32[5, 2], expected a first dimension that is 1 or free" in refused(
        [spec("x", None, 3)], [spec("y", 5, 2)], batched=True
    )


def test_context_is_not_part_of_what_a_message_brings():
    assert ports([spec("x", 1, 576)], [spec("y", 1, 1)], context={"x": 64})["x"] == "float32[512]"
    assert ports(*SILERO, state={"state": "stateN"}, context={"input": 64})["input"] == "float32[time]"


def test_with_context_a_named_time_axis_is_no_longer_the_output_s():
    found = ports([spec("x", 1, "time")], [spec("y", 1, "time")], context={"x": 4})
    assert found == {"x": "float32[new_time]", "y": "float32[time]"}


def test_sizes_fix_free_dimensions_by_the_names_of_the_ports():
    assert ports(*SILERO, state={"state": "stateN"}, sizes={"time": 512})["input"] == "float32[512]"
    assert ports(*RIANN, state={"h0": "hn"}, sizes={"sequence": 8})["output"] == "float32[8, 4]"
    assert "no free dimension 'sequnce' for sizes, expected one of its names: sequence" in refused(
        *RIANN, state={"h0": "hn"}, sizes={"sequnce": 8}
    )


def test_the_column_of_dt_is_not_part_of_what_a_message_brings():
    assert ports(*RIANN, state={"h0": "hn"}, dt=("input", 6))["input"] == "float32[sequence, 6]"
    assert "dt in column 7 of 'input'" in refused(*RIANN, state={"h0": "hn"}, dt=("input", 7))


def test_an_output_keeps_the_rate_of_the_input_whose_time_axis_it_has():
    bindings = bind(Signature(*map(tuple, RIANN)), Settings({"h0": "hn"}), "m.onnx")
    assert bindings.outputs[0].rate_from == "input"
    bindings = bind(Signature(*map(tuple, SILERO)), Settings({"state": "stateN"}), "m.onnx")
    assert bindings.outputs[0].rate_from is None


def test_a_state_starts_at_zero_with_one_stream_in_its_batch_axis_wherever_that_is():
    bindings = bind(Signature(*map(tuple, SILERO)), Settings({"state": "stateN"}), "m.onnx")
    assert bindings.states[0].start.shape == (2, 1, 128)
    assert not bindings.states[0].start.any()


def test_a_state_with_several_free_axes_needs_to_be_told_which_is_the_batch_and_how_large_the_rest():
    model = [spec("x", 1, 3), spec("h", "layers", "batch", 8)], [spec("y", 1, 3), spec("hn", None, None, 8)]
    sentence = refused(*model, state={"h": "hn"})
    assert "state 'h' is float32[layers, batch, 8], free at axis 0 and 1" in sentence
    assert "initial={'h': array}" in sentence

    def start(**settings):
        return bind(Signature(*map(tuple, model)), Settings({"h": "hn"}, **settings), "m").states[0].start

    assert start(batch_axis=1, sizes={"layers": 2}).shape == (2, 1, 8)
    assert start(sizes={"layers": 2}).shape == (2, 1, 8)
    assert start(initial={"h": np.ones((4, 1, 8))}).tolist() == np.ones((4, 1, 8)).tolist()


@pytest.mark.parametrize(
    ("following", "words"),
    [
        (spec("hn", 2, 1, 9), "'h' is float32[2, 1, 8] and its next value 'hn' float32[2, 1, 9], expected the same"),
        (spec("hn", 2, 8), "expected the same"),
        (spec("hn", 2, 1, 8, dtype="float64"), "expected the same"),
    ],
)  # fmt: skip
def test_a_state_whose_next_value_has_another_shape_or_dtype_is_refused(following, words):
    assert words in refused([spec("x", 1, 3), spec("h", 2, 1, 8)], [spec("y", 1, 3), following], state={"h": "hn"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"state": {"h0": "stateN"}}, "m.onnx: no input 'h0' for state, expected one of its inputs: input, state, sr"),
        ({"state": {"state": "hn"}}, "no output 'hn' for state, expected one of its outputs: output, stateN"),
        ({"context": {"audio": 64}}, "no input 'audio' for context"),
        ({"constants": {"rate": 1}}, "no input 'rate' for constants"),
        ({"dt": ("delta", None)}, "no input 'delta' for dt"),
        ({"outputs": ["prob"]}, "no output 'prob' for outputs"),
        ({"batched": {"audio": True}}, "no tensor 'audio' for batched"),
        ({"initial": {"state": 0}}, "initial names no state 'state', expected one of its states: none"),
        ({"state": {"state": "stateN"}, "constants": {"state": 0}}, "input 'state' is bound more than once"),
        ({"context": {"sr": 4}, "constants": {"sr": 4}}, "input 'sr' is bound more than once"),
        ({"constants": {"sr": 16000.5}}, "16000.5 for 'sr', expected int64[]"),
        ({"constants": {"sr": [1, 2]}}, "int64[2] for 'sr', expected int64[]"),
        ({"constants": {"sr": "fast"}}, "'fast' for 'sr'"),
        ({"constants": {"input": 0, "state": 0}}, "no input is left for a port"),
        ({"state": {"state": "stateN"}, "outputs": ["output", "output"]}, "expected each name once"),
    ],
)
def test_what_does_not_fit_the_model_is_one_sentence_that_lists_what_there_is(settings, words):
    assert words in refused(*SILERO, **settings)


def test_too_much_context_is_refused():
    assert "context of 8 samples for 'x', which is float32[1, 8]" in refused(
        [spec("x", 1, 8)], [spec("y", 1, 1)], context={"x": 8}
    )


def test_a_model_whose_outputs_are_all_states_has_nothing_to_send():
    assert "no output is left for a port" in refused(
        [spec("x", 1, 3), spec("h", 1, 3)], [spec("hn", 1, 3)], state={"h": "hn"}
    )


def test_a_dtype_that_numpy_has_not_is_refused_unless_it_is_left_out():
    model = [spec("x", 1, 3)], [spec("y", 1, 3), spec("z", 1, 3, dtype="bfloat16")]
    assert "'z' is bfloat16[1, 3], expected a dtype that NumPy has" in refused(*model)
    assert ports(*model, outputs={"y": "score"}) == {"x": "float32[3]", "score": "float32[3]"}


def test_names_become_identifiers_of_their_own():
    assert identifiers(["input.1", "input_1", "758", "ß", "ok"]) == {
        "input.1": "input_1", "input_1": "input_1_2", "758": "_758", "ß": "_", "ok": "ok",
    }  # fmt: skip
