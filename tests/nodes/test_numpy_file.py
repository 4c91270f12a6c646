"""NumpyFile: rows of a stored array, never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.ingest import NumpyFile
from streamflow import InputError
from streamflow.testing.harness import drive

ROWS = np.arange(60, dtype=np.int16).reshape(10, 2, 3)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npz"
    np.savez(path, rows=ROWS, floats=ROWS.astype(np.float32))
    return path


@pytest.mark.parametrize("chunk", [1, 3, 10, 11])
def test_rows_keep_shape_and_dtype(stored: Path, chunk: int) -> None:
    node = NumpyFile(stored, rate_hz=10, chunk=chunk)
    sent = drive(node).arrays
    assert str(node.samples.type) == f"int16[{chunk}, 2, 3]"
    assert {array.dtype.name for array in sent} == {"int16"}
    assert np.array_equal(np.concatenate(sent)[:10], ROWS)


@pytest.mark.parametrize("other", [ROWS.astype(">i2"), np.asfortranarray(ROWS)])
def test_another_memory_layout_is_read_as_well(tmp_path: Path, other: Any) -> None:
    np.save(tmp_path / "other.npy", other)
    sent = drive(NumpyFile(tmp_path / "other.npy", rate_hz=10, chunk=10)).arrays
    assert sent[0].dtype == np.dtype("int16")
    assert np.array_equal(sent[0], ROWS)


def test_time_and_sample_come_from_the_rate(stored: Path) -> None:
    last = drive(NumpyFile(stored, rate_hz=10, chunk=4)).messages[-1]
    assert dict(last.attributes) == {"sample": 8, "time_s": 0.9, "valid": 2}
    assert last.event_time_ns == 900_000_000


def test_an_array_of_an_archive_is_named(archive: Path) -> None:
    node = NumpyFile(archive, rate_hz=10, chunk=10, key="floats")
    assert np.array_equal(drive(node).arrays[0], ROWS)
    assert str(node.samples.type) == "float32[10, 2, 3]"


def test_the_only_array_of_an_archive_needs_no_name(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "one.npz", rows=ROWS)
    assert np.array_equal(drive(NumpyFile(tmp_path / "one.npz", rate_hz=10, chunk=10)).arrays[0], ROWS)


def test_rows_with_a_nan_can_be_dropped(tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.array([1.0, np.nan, 3.0]))
    sent = drive(NumpyFile(tmp_path / "nan.npy", rate_hz=10, nan="drop")).messages
    assert [(message.array.tolist(), message.attributes["nan_rows"]) for message in sent] == [([1], 0), ([3], 1)]


def refused(path: Path, **options: Any) -> str:
    """The sentence with which inspecting refuses the file."""
    with pytest.raises(InputError) as caught:
        NumpyFile(path, **{"rate_hz": 10, **options}).inspect()
    return str(caught.value)


def test_python_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", rows=np.array([{}, []], dtype=object), allow_pickle=True)
    assert "objects" in refused(tmp_path / "objects.npy")
    assert "holds object, expected numbers" in refused(tmp_path / "objects.npz", key="rows")


@pytest.mark.parametrize("other", [np.array(["a"]), np.zeros(2, [("x", "f4")]), np.float32(1), np.zeros((0, 3))])
def test_an_array_that_is_no_rows_of_numbers_is_refused(tmp_path: Path, other: Any) -> None:
    np.save(tmp_path / "other.npy", other)
    assert "expected" in refused(tmp_path / "other.npy")


@pytest.mark.parametrize("size", [0, 4, 60, 150])
def test_a_file_that_was_cut_off_is_refused(stored: Path, size: int) -> None:
    stored.write_bytes(stored.read_bytes()[:size])
    assert "expected a .npy or .npz file" in refused(stored)


def test_an_archive_that_was_cut_off_is_refused(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:200])
    assert "expected a .npy or .npz file" in refused(archive, key="rows")


def test_a_damaged_archive_fails_when_it_is_opened(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.index(ROWS.tobytes()) + 7] ^= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be read \(Bad CRC-32"):
        drive(NumpyFile(archive, rate_hz=10, key="rows"))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    assert "cannot be read" in refused(tmp_path / "text.npy")


def test_a_missing_key_lists_those_that_are_there(archive: Path) -> None:
    assert "has no array z, expected key to be one of: rows, floats" in refused(archive, key="z")
    assert "holds 2 arrays" in refused(archive)


def test_settings_that_make_no_sense_are_refused(stored: Path) -> None:
    assert "rate_hz: is 0" in refused(stored, rate_hz=0)
    assert "chunk: is -1" in refused(stored, chunk=-1)
