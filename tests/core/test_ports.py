"""What a port can carry, and which ports can be joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import In, Out
from streamflow.core.ports import (
    DTYPE_NAMES,
    Dimension,
    Mismatch,
    PortType,
    TensorType,
    fits,
    parse_tensor,
    substitute,
    unify_ports,
)
from streamflow.errors import Fault


def port(text: str, rate_hz: float | None = None) -> PortType:
    return PortType({"array": parse_tensor(text)}, rate_hz)


# ------------------------------------------------------------------------------------------ writing a type


@pytest.mark.parametrize(
    "text", ["float32[channels, time]", "int64[]", "any[...]", "uint8[height, width, 3]", "int16|int32[..., 2]"]
)
def test_a_tensor_type_reads_as_it_is_written(text: str) -> None:
    assert str(parse_tensor(text)) == text


def test_spaces_mean_nothing() -> None:
    assert parse_tensor(" int32 | int16 [ a ,3 ] ") == parse_tensor("int16|int32[a, 3]")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("float32", "is not a tensor type, expected dtype"),
        ("float33[time]", "'float33' in 'float33.time.' is no dtype"),
        ("object[n]", "no dtype that has a plain buffer"),
        ("float128[n]", "no dtype that has a plain buffer"),
        ("float32[..., ...]", "more than one '...'"),
        ("float32[a b]", "'a b' in 'float32.a b.' is no dimension"),
        ("float32[-1]", "'-1' in 'float32.-1.' is no dimension"),
        ("float32[a,]", "is no dimension"),
    ],
)
def test_a_text_that_is_no_tensor_type_is_refused_with_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_tensor(text)


@pytest.mark.parametrize("name", sorted(DTYPE_NAMES - {"str", "bytes"}))
def test_a_dtype_is_called_as_numpy_calls_it(name: str) -> None:
    assert np.dtype(name).name == name


def test_an_out_says_what_it_sends() -> None:
    with pytest.raises(Fault, match="one unnamed tensor or several named ones"):
        Out()


def test_a_port_has_one_unnamed_tensor_or_named_ones() -> None:
    with pytest.raises(Fault, match="one unnamed tensor or several named ones"):
        In("float32[time]", other="int64[]")


def test_a_port_with_a_type_that_is_none_is_a_fault() -> None:
    with pytest.raises(Fault, match="In: 'float31' in"):
        In("float31[time]")


# ----------------------------------------------------------------------------------------- joining two ports


@pytest.mark.parametrize(
    "sent", [Out("float32[channels, time]"), Out("str[]"), Out(box="float32[n, 4]", name="str[n]"), Out("any[...]")]
)
def test_an_in_without_tensors_takes_whatever_is_sent(sent: Out) -> None:
    assert unify_ports(sent.type, In().type, {"time": 5}) == {"time": 5}
    assert str(In().type) == "any tensors"


@pytest.mark.parametrize(
    ("sent", "expected", "sizes"),
    [
        ("float32[512]", "float32[time]", {"time": 512}),
        ("float32[time]", "float32[512]", {}),
        ("float32[2, 512]", "any[channels, time]", {"channels": 2, "time": 512}),
        ("int16[3]", "int16|float32[n]", {"n": 3}),
        ("float32[1, 3, 8, 9]", "float32[..., height, width]", {"height": 8, "width": 9}),
        ("float32[batch, ...]", "float32[1, 2, 3]", {}),
        ("float32[4, ..., 5]", "float32[a, b, ..., c]", {"a": 4, "c": 5}),
        ("float32[]", "any[...]", {}),
        ("any[...]", "float32[n, 4]", {}),
    ],
)
def test_sizes_that_are_known_flow_into_names(sent: str, expected: str, sizes: dict[str, Dimension]) -> None:
    assert unify_ports(port(sent), port(expected), {}) == sizes


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("float64[3]", "float32[3]"),
        ("float32[3]", "float32[4]"),
        ("float32[3]", "float32[3, 1]"),
        ("float32[3, 3, 3]", "float32[..., 4]"),
        ("float32[3]", "float32[a, b, ...]"),
        ("float32[...,2]", "float32[3]"),
        ("float32[2, 3]", "float32[n, n]"),
    ],
)
def test_types_that_cannot_be_the_same_are_refused_by_name(sent: str, expected: str) -> None:
    with pytest.raises(Mismatch) as caught:
        unify_ports(port(sent), port(expected), {})
    assert str(caught.value).startswith(f"{parse_tensor(sent)} sent, {parse_tensor(expected)}")


def test_a_name_is_one_size_on_all_ports_of_a_node() -> None:
    with pytest.raises(Mismatch, match=r"float32\[4\] sent, float32\[time\] \(time = 3\) expected"):
        unify_ports(port("float32[4]"), port("float32[time]"), {"time": 3})


def test_a_single_tensor_flows_whatever_it_is_called() -> None:
    samples = PortType({"samples": parse_tensor("float32[8]")})
    assert unify_ports(samples, port("float32[n]"), {}) == {"n": 8}


def test_of_several_tensors_every_expected_one_must_be_sent_by_name() -> None:
    sent = Out(box="float32[7, 4]", score="float32[7]", label="str[7]").type
    assert unify_ports(sent, In(box="float32[n, 4]", score="float32[n]").type, {}) == {"n": 7}
    with pytest.raises(Mismatch, match="tensors box, score, label sent, 'mask' expected"):
        unify_ports(sent, In(box="any[...]", mask="any[...]").type, {})


def test_rates_must_agree_where_both_are_known() -> None:
    assert unify_ports(port("any[...]", 16000), port("any[...]"), {}) == {}
    with pytest.raises(Mismatch, match="8000 Hz sent, 16000 Hz expected"):
        unify_ports(port("any[...]", 8000), port("any[...]", 16000), {})


DIMENSION = st.one_of(st.integers(0, 9), st.sampled_from(["a", "b", "c"]))
DTYPES = st.frozensets(st.sampled_from(sorted(DTYPE_NAMES)), max_size=3)


@st.composite
def tensor_types(draw: st.DrawFn) -> TensorType:
    dimensions: list[Dimension] = draw(st.lists(DIMENSION, max_size=4))
    if draw(st.booleans()):
        dimensions.insert(draw(st.integers(0, len(dimensions))), "...")
    return TensorType(draw(DTYPES), tuple(dimensions))


@given(tensor_types())
def test_every_type_can_be_written_and_read_back(tensor: TensorType) -> None:
    assert parse_tensor(str(tensor)) == tensor


@given(tensor_types())
def test_every_type_flows_into_itself(tensor: TensorType) -> None:
    unify_ports(PortType({"array": tensor}), PortType({"array": tensor}), {})


@given(st.lists(st.integers(0, 9), max_size=5).map(tuple), tensor_types())
def test_an_array_fits_exactly_where_its_own_type_could_be_sent(shape: tuple[int, ...], tensor: TensorType) -> None:
    try:
        sizes = unify_ports(PortType({"a": TensorType(frozenset({"int8"}), shape)}), PortType({"a": tensor}), {})
    except Mismatch:
        assert not fits("int8", shape, tensor)
    else:
        assert fits("int8", shape, tensor)
        assert fits("int8", shape, substitute(PortType({"a": tensor}), sizes).tensors["a"])


@given(tensor_types(), tensor_types(), st.lists(st.integers(0, 2), max_size=5).map(tuple))
def test_what_fits_both_ends_of_an_edge_was_never_refused(
    sent: TensorType, expected: TensorType, shape: tuple[int, ...]
) -> None:
    if fits("int8", shape, sent) and fits("int8", shape, expected):
        unify_ports(PortType({"a": sent}), PortType({"a": expected}), {})
