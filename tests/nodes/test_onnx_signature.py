"""What is read of an ONNX file without ONNX Runtime."""

from __future__ import annotations

import runpy
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.infer.onnx_signature import Signature, TensorSpec, parse_signature, read_signature

MODELS = Path(__file__).parent.parent / "models"
NAMES = sorted(path.stem for path in MODELS.glob("*.onnx"))
DTYPES = {1: "float32", 7: "int64"}


def as_onnx_tells(path):
    model = onnx.load(path)
    initialisers = {tensor.name for tensor in model.graph.initializer}

    def spec(value):
        tensor = value.type.tensor_type
        sizes = (dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in tensor.shape.dim)
        return TensorSpec(value.name, DTYPES[tensor.elem_type], tuple(sizes))

    inputs = tuple(spec(value) for value in model.graph.input if value.name not in initialisers)
    return Signature(inputs, tuple(spec(value) for value in model.graph.output))


@pytest.mark.parametrize("name", NAMES)
def test_names_dtypes_and_shapes_are_those_that_the_onnx_library_reads(name):
    path = MODELS / f"{name}.onnx"
    assert read_signature(path) == as_onnx_tells(path)


def test_the_committed_models_are_what_their_script_writes():
    made = runpy.run_path(str(MODELS / "make_models.py"))["MODELS"]
    assert sorted(make.__name__ for make in made) == NAMES
    for make in made:
        assert onnx.load(MODELS / f"{make.__name__}.onnx") == make()


def test_an_initialiser_that_is_listed_as_an_input_needs_not_be_fed():
    assert [spec.name for spec in read_signature(MODELS / "weighted_pair.onnx").inputs] == ["left", "right", "gain"]


def test_a_sparse_initialiser_needs_not_be_fed_either():
    values = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    at = onnx.helper.make_tensor("at", onnx.TensorProto.INT64, [1], [0])
    sparse = onnx.helper.make_sparse_tensor(values, at, [4])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "w", "y")]
    graph = onnx.helper.make_graph([], "g", value[:2], value[2:], sparse_initializer=[sparse])
    signature = parse_signature(onnx.helper.make_model(graph).SerializeToString())
    assert [spec.name for spec in signature.inputs] == ["x"]


def test_what_is_no_tensor_and_what_has_no_rank_are_told_apart():
    values = [
        onnx.helper.make_tensor_sequence_value_info("list", onnx.TensorProto.FLOAT, None),
        onnx.helper.make_tensor_value_info("any_rank", onnx.TensorProto.BFLOAT16, None),
    ]
    graph = onnx.helper.make_graph([], "g", values, values[1:])
    signature = parse_signature(onnx.helper.make_model(graph).SerializeToString())
    assert signature.inputs == (TensorSpec("list", "sequence", None), TensorSpec("any_rank", "bfloat16", None))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no graph"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "not an ONNX model"),
        (b"\x08\x08", "no graph"),
        (b"\x3a\x00", "no outputs"),
        (b"\x3a\xff\x01abc", "cut off"),
        (b"\xff" * 11, "does not end"),
    ],
)
def test_what_is_no_model_is_a_value_error_that_says_why(data, words):
    with pytest.raises(ValueError, match=words):
        parse_signature(data)


def test_a_model_cut_anywhere_is_never_read_past_its_end():
    whole = (MODELS / "running_sum.onnx").read_bytes()
    for size in range(len(whole) - 8):
        with pytest.raises(ValueError, match=r"cut off|not an ONNX model"):
            parse_signature(whole[:size])


@given(st.binary(max_size=200))
def test_any_bytes_give_a_signature_or_a_value_error(data):
    signature_or_value_error(data)


@given(st.sampled_from(NAMES), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6))
def test_a_damaged_model_gives_a_signature_or_a_value_error(name, changes):
    data = bytearray((MODELS / f"{name}.onnx").read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    signature_or_value_error(bytes(data))


def signature_or_value_error(data):
    try:
        signature = parse_signature(data)
    except ValueError:
        return
    assert signature.outputs
