"""CsvFile: rows of numbers with or without a header; what is wrong is named by file, row and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.ingest import CsvFile
from streamflow import InputError
from streamflow.testing.harness import drive

HEADED = "time,x,y\n0.0,1,10\n0.1,2,20\n0.4,3,30\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.csv"


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def numbers(path: Path, **options: Any) -> list[list[float]]:
    rows: list[list[float]] = np.concatenate(drive(CsvFile(path, **options)).arrays).tolist()
    return rows


def test_all_columns_but_the_time_are_emitted(log: Path) -> None:
    node = CsvFile(written(log, HEADED), time="time")
    sent = drive(node).messages
    assert str(node.samples.type) == "float32[1, 2]"
    assert [message.array.tolist() for message in sent] == [[[1, 10]], [[2, 20]], [[3, 30]]]
    assert [message.event_time_ns for message in sent] == [0, 100_000_000, 400_000_000]
    assert [message.attributes["time_s"] for message in sent] == [0.0, 0.1, 0.4]


def test_columns_come_in_the_order_they_are_asked_for(log: Path) -> None:
    written(log, HEADED)
    assert numbers(log, columns=["y", "x"], rate_hz=5)[0] == [10, 1]
    assert numbers(log, columns=[2, 0], rate_hz=5)[2] == pytest.approx([30, 0.4])
    assert numbers(log, columns="y", rate_hz=5) == [[10], [20], [30]]


def test_without_a_header_columns_have_indices(log: Path) -> None:
    assert numbers(written(log, "0,5\n1,6\n"), time=0) == [[5], [6]]


def test_dt_is_the_last_column(log: Path) -> None:
    rows = numbers(written(log, HEADED), columns="x", time="time", rate_hz=10, dt=True)
    assert np.allclose(rows, [[1, 0.1], [2, 0.1], [3, 0.3]])


@pytest.mark.parametrize(
    "text", ["\ufefftime,x\r\n0,1\r\n\r\n1,2\r\n", 'time;x\n"0";"1"\n1; 2\n', "\n\ntime,x\n0,1\n1,2"]
)
def test_what_other_programs_write_is_read(log: Path, text: str) -> None:
    assert numbers(written(log, text), time="time", delimiter=";" if ";" in text else ",") == [[1], [2]]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 600), chunk=st.integers(1, 300))
def test_chunk_boundaries_are_invisible(tmp_path_factory: pytest.TempPathFactory, count: int, chunk: int) -> None:
    path = tmp_path_factory.mktemp("law") / "log.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i / 4}\n" for i in range(count)))
    sent = np.concatenate(drive(CsvFile(path, rate_hz=10, chunk=chunk)).arrays)
    assert np.array_equal(sent[:count], np.column_stack([np.arange(count), np.arange(count) / 4]))
    assert not sent[count:].any()


def test_empty_cells_and_nan_are_missing_values(log: Path) -> None:
    written(log, "x,y\n1,2\n,4\n5,nan\n7, \n8,9\n")
    assert np.isnan(numbers(log, rate_hz=10)).sum() == 3
    assert numbers(log, rate_hz=10, nan="drop") == [[1, 2], [8, 9]]
    assert numbers(log, rate_hz=10, nan="hold") == [[1, 2]] * 4 + [[8, 9]]


def test_missing_values_that_are_dropped_are_counted(log: Path) -> None:
    sent = drive(CsvFile(written(log, "x,y\n1,2\n,4\n5,6\n"), rate_hz=10, nan="drop")).messages
    assert [message.attributes["nan_rows"] for message in sent] == [0, 1]
    assert [message.attributes["sample"] for message in sent] == [0, 2]


def failure(path: Path, **options: Any) -> tuple[str, int]:
    """The sentence with which playing ends, and how many rows came before."""
    node = CsvFile(path, **{"rate_hz": 10, **options})
    node.inspect()
    seen = 0
    try:
        for block in node.rows():
            seen += len(block)
    except InputError as error:
        return str(error), seen
    return "", seen


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("5,abc", "row 4, column y: is 'abc', expected a number"),
        ("5", "row 4: has 1 cells, expected 2"),
        ("5,6,7", "row 4: has 3 cells, expected 2"),
    ],
)
def test_a_wrong_row_is_named_after_those_before_it_were_played(log: Path, line: str, sentence: str) -> None:
    written(log, f"x,y\n1,2\n3,4\n{line}\n7,8\n")
    assert failure(log) == (f"{log}, {sentence}", 2)


def test_rows_are_counted_as_an_editor_does(log: Path) -> None:
    written(log, "x\n1\n\n\nabc\n")
    assert failure(log)[0].startswith(f"{log}, row 5, column x:")


def test_a_time_that_goes_back_is_named_by_its_row(log: Path) -> None:
    with pytest.raises(InputError, match=r"log.csv, row 4: has time 0.05 after 0.1, expected times"):
        drive(CsvFile(written(log, "time,x\n0,1\n0.1,2\n0.05,3\n"), time="time"))


def test_a_file_that_is_no_text_is_refused_where_it_stops_being_text(log: Path) -> None:
    log.write_bytes(b"x\n1\n2\n\xff\xfe\xfa\n")
    with pytest.raises(InputError, match="expected a CSV file of numbers"):
        drive(CsvFile(log, rate_hz=10))


def refused(path: Path, **options: Any) -> str:
    """The sentence with which inspecting refuses the file."""
    with pytest.raises(InputError) as caught:
        CsvFile(path, **{"rate_hz": 10, **options}).inspect()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty"),
        ("\n\n", "has no rows"),
        ("time,x,y\n", "has no rows of numbers"),
        ("time,x,y\n0,a,1\n", "row 2, column x: is 'a', expected a number"),
        ("1,b\n3,4\n", "row 1, column 1: is 'b', expected a number"),
        ("\x00\x01\x02", "no rows of numbers"),
    ],
)
def test_a_file_without_numbers_is_refused(log: Path, text: str, found: str) -> None:
    assert found in refused(written(log, text))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"columns": ["z"]}, "has no column named z, expected one of: time, x, y"),
        ({"columns": 3}, "has 3 columns, expected column 3"),
        ({"time": "clock"}, "has no column named clock"),
        ({"rate_hz": None}, "neither rate_hz nor time is given"),
        ({"chunk": 0}, "CsvFile chunk: is 0"),
        ({"delimiter": ";;"}, "delimiter: is ';;', expected one character"),
        ({"nan": "skip"}, "expected one of pass, drop, hold"),
    ],
)
def test_settings_that_do_not_suit_the_file_are_refused(log: Path, options: dict[str, Any], found: str) -> None:
    assert found in refused(written(log, HEADED), **options)


def test_a_name_without_a_header_is_refused(log: Path) -> None:
    assert "row 1: is no header" in refused(written(log, "1,2\n3,4\n"), columns="x")


def test_a_name_that_two_columns_have_is_refused(log: Path) -> None:
    assert "has 2 columns named x" in refused(written(log, "x,x\n1,2\n"), columns="x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.csv").startswith(f"{tmp_path}/no.csv: No such file")
