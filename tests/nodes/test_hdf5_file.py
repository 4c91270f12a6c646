"""Hdf5File: rows of named datasets, stacked or not, by rate or by their own time stamps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nodes.ingest import Hdf5File
from streamflow import InputError
from streamflow.testing.harness import drive

ACC = np.arange(30, dtype=np.float64).reshape(10, 3)
GYR = -np.arange(30, dtype=np.float32).reshape(10, 3)
STAMPS = np.array([100.0, 100.1, 100.2, 100.5, 100.6, 100.7, 100.8, 100.9, 101.0, 101.1])


@pytest.fixture
def imu(tmp_path: Path) -> Path:
    path = tmp_path / "imu.hdf5"
    with h5py.File(path, "w") as file:
        file["acc"] = ACC
        file["sensors/gyr"] = GYR
        file["moving"] = np.arange(10) % 2 == 0
        file["time"] = STAMPS
        file["big_endian"] = ACC.astype(">f8")
        file["short"] = ACC[:9]
        file["words"] = np.array([b"a"] * 10)
        file["one"] = 3.0
        file["empty"] = np.zeros((0, 3))
        file.attrs["rate"] = 10.0
        file.attrs["title"] = "a walk"
    return path


def with_nan(path: Path, *rows: int) -> Path:
    with h5py.File(path, "a") as file:
        for row in rows:
            file["acc"][row, 1] = np.nan
    return path


def test_one_dataset_is_one_tensor_in_its_own_dtype(imu: Path) -> None:
    node = Hdf5File(imu, "sensors/gyr", chunk=5, rate_hz=10)
    sent = drive(node).arrays
    assert str(node.samples.type) == "float32[5, 3]"
    assert sent[0].dtype == np.float32
    assert np.array_equal(np.concatenate(sent), GYR)


def test_several_datasets_are_named_tensors(imu: Path) -> None:
    sent = drive(Hdf5File(imu, {"a": "acc", "m": "moving"}, chunk=5, rate_hz=10)).messages
    assert np.array_equal(sent[1]["a"], ACC[5:])
    assert sent[1]["m"].tolist() == [False, True, False, True, False]


def test_stacked_columns_keep_the_order_of_the_fields(imu: Path) -> None:
    node = Hdf5File(imu, {"g": "sensors/gyr", "a": "acc", "m": "moving"}, rate_hz=10, stack=True)
    sent = np.concatenate(drive(node).arrays)
    assert str(node.samples.type) == "float32[1, 7]"
    assert np.array_equal(sent, np.column_stack([GYR, ACC, np.arange(10) % 2 == 0]).astype(np.float32))


def test_dt_is_the_last_column_and_one_period_for_the_first_row(imu: Path) -> None:
    sent = np.concatenate(drive(Hdf5File(imu, {"a": "acc"}, rate_hz=10, stack=True, dt=True)).arrays)
    assert np.array_equal(sent[:, 3], np.full(10, np.float32(0.1)))


def test_dt_is_a_tensor_of_its_own_when_not_stacked(imu: Path) -> None:
    sent = drive(Hdf5File(imu, {"a": "acc"}, chunk=10, time="time", rate_hz=10, dt=True)).messages
    assert np.allclose(sent[0]["dt"], [0.1, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], atol=1e-6)


def test_irregular_time_stamps_pace_the_recording_from_its_first_row(imu: Path) -> None:
    sent = drive(Hdf5File(imu, "acc", time="time")).messages
    assert [message.event_time_ns for message in sent] == [round((t - 100.0) * 1e9) for t in STAMPS.tolist()]
    assert [message.attributes["time_s"] for message in sent] == STAMPS.tolist()


def test_a_part_of_the_recording_keeps_its_samples_and_starts_at_once(imu: Path) -> None:
    sent = drive(Hdf5File(imu, "acc", rate_hz=10, start=3, stop=6)).messages
    assert [message.attributes["sample"] for message in sent] == [3, 4, 5]
    assert [message.event_time_ns for message in sent] == [0, 100_000_000, 200_000_000]
    assert np.array_equal(sent[0].array[0], ACC[3])


def test_the_rate_can_be_an_attribute_of_the_file(imu: Path) -> None:
    node = Hdf5File(imu, "acc", rate_hz="rate")
    node.inspect()
    assert node.samples.type.rate_hz == 10.0


def test_another_byte_order_becomes_this_machines(imu: Path) -> None:
    sent = drive(Hdf5File(imu, "big_endian", chunk=10, rate_hz=10)).arrays
    assert sent[0].dtype == np.dtype("float64")
    assert np.array_equal(sent[0], ACC)


def test_a_nan_is_passed_on_unless_told_otherwise(imu: Path) -> None:
    sent = drive(Hdf5File(with_nan(imu, 4), "acc", rate_hz=10)).messages
    assert np.isnan(sent[4].array).sum() == 1
    assert "nan_rows" not in sent[4].attributes


def test_a_dropped_row_is_counted_and_widens_the_next_step(imu: Path) -> None:
    node = Hdf5File(with_nan(imu, 4, 5), {"a": "acc"}, rate_hz=10, stack=True, dt=True, nan="drop")
    sent = drive(node).messages
    assert [message.attributes["sample"] for message in sent] == [0, 1, 2, 3, 6, 7, 8, 9]
    assert [message.attributes["nan_rows"] for message in sent] == [0, 0, 0, 0, 2, 2, 2, 2]
    assert sent[4].array[0, 3] == pytest.approx(0.3)


def test_a_held_row_is_counted_and_keeps_its_time(imu: Path) -> None:
    sent = drive(Hdf5File(with_nan(imu, 4), "acc", rate_hz=10, nan="hold")).messages
    assert np.array_equal(sent[4].array[0], ACC[3])
    assert sent[4].attributes["sample"] == 4
    assert sent[4].attributes["nan_rows"] == 1


def test_nothing_but_nan_rows_is_an_error_when_they_are_dropped(imu: Path) -> None:
    with pytest.raises(InputError, match="has a NaN in every row"):
        drive(Hdf5File(with_nan(imu, *range(10)), "acc", rate_hz=10, nan="drop"))


def test_a_padded_last_chunk_says_how_much_of_it_is_real(imu: Path) -> None:
    sent = drive(Hdf5File(imu, "acc", chunk=4, rate_hz=10)).messages
    assert sent[-1].attributes["valid"] == 2
    assert not sent[-1].array[2:].any()


def refused(path: Path, fields: Any, **options: Any) -> str:
    """The sentence with which inspecting refuses the file."""
    with pytest.raises(InputError) as caught:
        Hdf5File(path, fields, **{"rate_hz": 10, **options}).inspect()
    return str(caught.value)


def test_a_missing_dataset_lists_those_that_are_there(imu: Path) -> None:
    sentence = refused(imu, "mag")
    assert f"{imu}: has no dataset mag" in sentence
    assert "sensors/gyr" in sentence


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("sensors", "has a group, not a dataset"),
        ("words", "expected numbers"),
        ("one", "is a single value"),
        ("empty", "has no rows"),
        ({"a": "acc", "b": "short"}, "acc has 10 rows, short has 9 rows, expected equal lengths"),
        ({}, "names no dataset"),
        ({"rate_hz": "acc"}, "names a tensor 'rate_hz', expected a name that is free"),
    ],
)
def test_a_dataset_that_is_no_rows_of_numbers_is_refused(imu: Path, fields: Any, found: str) -> None:
    assert found in refused(imu, fields)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"rate_hz": None}, "neither rate_hz nor time is given"),
        ({"rate_hz": -1}, "rate_hz: is -1"),
        ({"rate_hz": "pace"}, "has no attribute pace"),
        ({"rate_hz": "title"}, "title: cannot be read"),
        ({"chunk": 0}, "chunk: is 0"),
        ({"nan": "ignore"}, "is 'ignore', expected one of pass, drop, hold"),
        ({"time": "clock"}, "has no dataset clock"),
        ({"time": "sensors/gyr"}, "one time per row"),
        ({"start": 10}, "rows 10 to 10 asked for"),
        ({"stop": 11}, "within the 10 rows"),
    ],
)
def test_settings_that_do_not_suit_the_file_are_refused(imu: Path, options: dict[str, Any], found: str) -> None:
    assert found in refused(imu, "acc", **options)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "expected an HDF5 file" in refused(tmp_path / "no.hdf5", "acc")


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_file_that_was_cut_off_is_refused(imu: Path, size: int) -> None:
    imu.write_bytes(imu.read_bytes()[:size])
    assert "expected an HDF5 file" in refused(imu, "acc")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("time,x\n" * 200)
    assert "cannot be read" in refused(tmp_path / "text.hdf5", "acc")


def test_a_damaged_block_fails_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "damaged.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=np.arange(2048.0), chunks=(1024,), compression="gzip", fletcher32=True)
        offset = data.id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged.hdf5, rows 1024 to 2047: cannot be read"):
        drive(Hdf5File(path, "x", rate_hz=10))


def test_the_imu_recording_is_what_the_attitude_model_takes(recordings: Callable[[str], Path]) -> None:
    path = recordings("imu_riann/broad_02_undisturbed_slow_rotation_B.hdf5")
    fields = {"acc": "imu_acc", "gyr": "imu_gyr"}
    node = Hdf5File(path, fields, chunk=2048, rate_hz="sampling_rate", stack=True, dt=True)
    sent = drive(node).messages
    whole = np.concatenate([message.array for message in sent])[:53240]
    assert str(node.samples.type) == "float32[2048, 7]"
    assert sent[-1].attributes["valid"] == 53240 % 2048
    assert set(whole[:, 6].tolist()) == {float(np.float32(0.0035))}
