"""A writer that was started again goes on where its former life was killed, and keeps what that had written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nodes.postprocess import CsvWriter, JsonLines, NumpyWriter
from streamflow import Message
from streamflow.testing.harness import drive


def rows(start: int) -> list[Message]:
    return [Message({"a": np.int64(number), "b": np.int64(-number)}, seq=number) for number in range(start, start + 3)]


def test_lines_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for generation in range(3):
        drive(JsonLines(path), rows(3 * generation), generation=generation)
    assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == list(range(9))


@pytest.mark.parametrize("columns", [None, ["a", "b"]])
def test_rows_are_added_below_the_header_that_is_there(tmp_path: Path, columns: list[str] | None) -> None:
    path = tmp_path / "out.csv"
    for generation in range(3):
        drive(CsvWriter(path, columns), rows(3 * generation), generation=generation)
    assert path.read_text() == "a,b\n" + "".join(f"{number},{-number}\n" for number in range(9))


def test_the_columns_are_those_of_the_first_life(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    drive(CsvWriter(path), rows(0))
    turned = [Message({"b": np.int64(5), "a": np.int64(4)})]
    drive(CsvWriter(path), turned, generation=1)
    assert path.read_text().splitlines()[-1] == "4,5"


@pytest.mark.parametrize("concatenate", [False, True])
def test_arrays_are_added_to_those_that_are_there(tmp_path: Path, concatenate: bool) -> None:
    path = tmp_path / "out.npy"
    for generation in range(3):
        data = [np.full((2, 3), 10 * generation + number, "float32") for number in range(2)]
        drive(NumpyWriter(path, concatenate), data, generation=generation)
    found = np.load(path)
    assert found.shape == ((12, 3) if concatenate else (6, 2, 3))
    assert np.unique(found).tolist() == [0, 1, 10, 11, 20, 21]


def test_what_the_killed_life_had_not_counted_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    drive(NumpyWriter(path), [np.zeros(3, "float32")])
    with path.open("ab") as file:
        file.write(b"half")  # killed before it had brought the header up to date
    drive(NumpyWriter(path), [np.ones(3, "float32")], generation=1)
    assert np.load(path).tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY", b"nothing of the kind"])
def test_where_the_former_life_had_written_nothing_it_begins_anew(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "out.npy"
    path.write_bytes(left)
    drive(NumpyWriter(path), [np.ones(3, "float32")], generation=1)
    assert np.load(path).tolist() == [[1, 1, 1]]


def test_a_run_that_starts_empties_its_files(tmp_path: Path) -> None:
    for node in (JsonLines, CsvWriter):
        path = tmp_path / node.__name__
        drive(node(path), rows(0))
        drive(node(path), rows(7))
        assert "0" not in path.read_text()
