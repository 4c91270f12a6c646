"""NumpyWriter grows one array whose file is whole after every message."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nodes.postprocess import NumpyWriter
from streamflow import InputError, Message
from streamflow.testing.harness import drive

many = st.tuples(
    st.sampled_from(["f4", "f8", "i8", "u1", "?", "c8", "M8[ns]", "U3", ">i2"]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    st.integers(1, 5),
)


@settings(deadline=None, max_examples=50)
@given(many, st.data())
def test_arrays_of_one_shape_come_back_stacked(kind: tuple[str, tuple[int, ...], int], data: st.DataObject) -> None:
    dtype, shape, count = kind
    sent = [data.draw(arrays.arrays(np.dtype(dtype), shape)) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.npy")
        drive(NumpyWriter(path), sent)
        found = np.load(path)
    assert found.dtype == sent[0].dtype
    np.testing.assert_array_equal(found, np.stack(sent))


def test_concatenate_joins_chunks_of_different_lengths(tmp_path: Path) -> None:
    chunks = [np.arange(4 * n, dtype=np.float32).reshape(n, 4) for n in (3, 0, 5)]
    drive(NumpyWriter(tmp_path / "out.npy", concatenate=True), chunks)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.concatenate(chunks))


def test_scalars_become_one_dimension(tmp_path: Path) -> None:
    drive(NumpyWriter(tmp_path / "out.npy"), [np.float32(x) for x in range(1000)])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.arange(1000, dtype=np.float32))


def test_the_file_can_be_read_after_every_message(tmp_path: Path) -> None:
    node = NumpyWriter(tmp_path / "out.npy")
    node.open()
    assert np.load(tmp_path / "out.npy").shape == (0,)
    for count in range(1, 5):
        node.process(Message({"array": np.full(3, count)}))
        assert np.load(tmp_path / "out.npy").shape == (count, 3)
    node.close()


def test_a_header_longer_than_the_first_one_finds_room(tmp_path: Path) -> None:
    array = np.zeros((1,) * 30)
    drive(NumpyWriter(tmp_path / "out.npy"), [array] * 3)
    assert np.load(tmp_path / "out.npy").shape == (3, *array.shape)


def test_a_shape_or_dtype_that_changes_is_refused_and_what_came_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    with pytest.raises(InputError, match=r"float64\[3\] arrived, expected float64\[2\] as before it"):
        drive(NumpyWriter(path), [np.zeros(2), np.zeros(3)])
    assert np.load(path).shape == (1, 2)
    with pytest.raises(InputError, match=r"int64\[2\] arrived, expected float64\[2\]"):
        drive(NumpyWriter(path), [np.zeros(2), np.zeros(2, np.int64)])


def test_a_field_is_taken_from_several_tensors(tmp_path: Path) -> None:
    message = {"a": np.zeros(2), "b": np.ones(2)}
    drive(NumpyWriter(tmp_path / "out.npy", field="b"), [message])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.ones((1, 2)))
    with pytest.raises(InputError, match="tensors a, b arrived, expected field= to name one"):
        drive(NumpyWriter(tmp_path / "out.npy"), [message])


def test_standard_output_and_values_to_concatenate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NumpyWriter path: '-'"):
        NumpyWriter("-")
    with pytest.raises(InputError, match="a value without dimensions"):
        drive(NumpyWriter(tmp_path / "out.npy", concatenate=True), [np.float32(1)])


def test_a_file_that_cannot_grow_keeps_its_whole_arrays(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match="size limit"):
            drive(NumpyWriter(path), [np.full(8, i) for i in range(50)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(np.load(path), [[i] * 8 for i in range(13)])


def test_of_a_padded_last_chunk_only_the_signal_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    chunks = [Message({"array": np.full((4, 2), i)}, attributes={"valid": 4 - i}) for i in range(2)]
    drive(NumpyWriter(path, concatenate=True), chunks)
    assert np.load(path)[:, 0].tolist() == [0] * 4 + [1] * 3
