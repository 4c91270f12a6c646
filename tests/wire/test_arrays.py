"""Arrays to bytes and back: whatever has a plain buffer arrives as it was sent, and nothing else is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamflow import WireError
from streamflow.core.ports import DTYPE_NAMES
from streamflow.wire.arrays import (
    DIMENSION_COUNT_LIMIT,
    TENSOR_SIZE_LIMIT,
    Array,
    array_over,
    buffer_of,
    describe,
    dtype_name,
    read_form,
)

DTYPES: st.SearchStrategy[np.dtype[Any]] = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    hnp.complex_number_dtypes(sizes=(64, 128), endianness="?"),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?", min_len=1),
    hnp.byte_string_dtypes(min_len=1),
)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Any array with a plain buffer, and any view of it: strides of either sign, Fortran order, 0-d, empty."""
    array = draw(hnp.arrays(draw(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
    if draw(st.booleans()):
        array = array.transpose(draw(st.permutations(range(array.ndim))))
    if array.ndim and draw(st.booleans()):
        array = array[draw(hnp.basic_indices(array.shape, allow_newaxis=True))]
    return np.asarray(array)


def restored(description: Any, buffer: Any) -> Array:
    return array_over(read_form(description), buffer)


def there_and_back(array: Array) -> Array:
    return restored(describe(array), bytes(buffer_of(array)))


def same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(arrays())
def test_any_array_with_a_plain_buffer_arrives_as_it_was_sent(array: Array) -> None:
    assert same(there_and_back(array), array)


@given(arrays())
def test_a_received_array_is_read_only(array: Array) -> None:
    received = restored(describe(array), bytearray(buffer_of(array)))
    assert not received.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        received[...] = received


@given(arrays())
def test_the_buffer_is_flat_bytes(array: Array) -> None:
    buffer = buffer_of(array)
    assert len(buffer) == buffer.nbytes == array.nbytes


def test_a_contiguous_array_is_not_copied() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert np.shares_memory(np.frombuffer(buffer_of(array)), array)
    data = array.tobytes()
    assert np.shares_memory(restored(describe(array), data), np.frombuffer(data))


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5, ">f8"),
        np.zeros((0, 3), "float32"),
        np.arange(12).reshape(3, 4)[::-2, 1::2],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::5][:1],
        np.broadcast_to(np.arange(3), (2, 3)),
        np.array(["2026-01-01", "NaT"], "datetime64[25us]"),
        np.array(["ä", ""]),
    ],
    ids=["0-d", "empty", "strided", "fortran", "odd stride", "broadcast", "datetime", "text"],
)
def test_arrays_of_every_make_arrive(array: Array) -> None:
    assert same(there_and_back(array), array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, [("x", "f4"), ("y", "i8")]),
        np.array([None, "x"], object),
        np.zeros(2, np.longdouble),
        np.zeros(2, np.clongdouble),
        np.zeros(2, "V3"),
    ],
    ids=["structured", "object", "longdouble", "clongdouble", "void"],
)
def test_a_dtype_that_means_nothing_elsewhere_is_refused(array: Array) -> None:
    with pytest.raises(WireError, match="a dtype with a plain buffer; structured and object arrays cannot be sent"):
        describe(array)


def test_a_tensor_of_a_gibibyte_is_refused_by_the_named_limit() -> None:
    def of_size(count: int) -> Array:
        return np.broadcast_to(np.zeros(1, "uint8"), (count,))

    with pytest.raises(WireError, match="1,073,741,824 bytes, expected less than TENSOR_SIZE_LIMIT = 1,073,741,824"):
        describe(of_size(TENSOR_SIZE_LIMIT))
    assert describe(of_size(TENSOR_SIZE_LIMIT - 1)) == ["|u1", [TENSOR_SIZE_LIMIT - 1]]


@pytest.mark.parametrize("name", sorted(DTYPE_NAMES))
def test_every_dtype_that_a_port_may_name_can_be_sent(name: str) -> None:
    array = np.zeros(2, {"datetime64": "datetime64[ns]", "str": "U3", "bytes": "S3"}.get(name, name))
    assert dtype_name(array.dtype).split("[")[0] == name
    assert same(there_and_back(array), array)


@pytest.mark.parametrize(
    ("description", "size"),
    [
        (None, 0),
        ([], 0),
        (["<f4"], 4),
        (["<f4", [1], 0], 4),
        ([4, [1]], 4),
        (["<f4", 1], 4),
        (["<f4", ["1"]], 4),
        (["<f4", [True]], 4),
        (["<f4", [1.0]], 4),
        (["<f4", [-1]], 4),
        (["<f4", [2]], 4),
        (["<f4", []], 3),
        (["f4", [1]], 4),
        (["<f3", [1]], 3),
        (["<f16", [1]], 16),
        (["|O8", [1]], 8),
        (["|V4", [1]], 4),
        (["<M8[parsec]", [1]], 8),
        (["<f4,<f4", [1]], 8),
        (["<U0", [1 << 30]], 0),
        (["|S0", [1 << 30, 1 << 30]], 0),
        (["<f4", [0, 1 << 30, 1 << 30, 1 << 30]], 0),
        (["<f4", [1 << 31, 0]], 0),
        (["<f4", [1] * (DIMENSION_COUNT_LIMIT + 1)], 4),
        (["<f8", [1 << 30, 1 << 30, 1 << 4]], 8),
        (["<f8", [1 << 27]], 8),
    ],
)
def test_a_description_that_does_not_fit_its_bytes_is_refused(description: Any, size: int) -> None:
    with pytest.raises(WireError):
        restored(description, bytes(size))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
DTYPE_TEXT = st.from_regex(r"\A[<>|=]?[biufcSUmMOV]\d{0,8}(\[\w{0,4}\])?\Z") | st.sampled_from(["<f4", "|u1", "<U2"])
DESCRIPTION = st.tuples(
    DTYPE_TEXT | JUNK, st.lists(st.sampled_from([0, 1, 2, 3, 1 << 30, 1 << 31, -1]), max_size=5) | JUNK
).map(list)


@given(DESCRIPTION | JUNK, st.binary(max_size=24))
def test_any_description_and_bytes_give_an_array_of_just_those_bytes_or_a_wire_error(
    description: Any, buffer: bytes
) -> None:
    try:
        form = read_form(description)
        array = array_over(form, buffer)
    except WireError:
        return
    assert array.nbytes == form.size <= len(buffer)
    assert array.tobytes() == buffer[: form.size]
    assert not array.flags.writeable


@given(arrays(), st.integers(0, 3))
def test_an_array_is_read_from_the_middle_of_a_buffer_too(array: Array, count: int) -> None:
    before = bytes(16 * count)
    assert same(array_over(read_form(describe(array)), before + array.tobytes(), len(before)), array)
