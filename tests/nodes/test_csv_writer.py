"""CsvWriter writes a header and one row a message."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.postprocess import CsvWriter
from streamflow import InputError, Message
from streamflow.testing.harness import drive


def written(tmp_path: Path, messages: list[Any], **settings: Any) -> str:
    drive(CsvWriter(tmp_path / "out.csv", **settings), messages)
    return (tmp_path / "out.csv").read_text()


def test_the_tensors_of_the_first_message_are_the_columns(tmp_path: Path) -> None:
    messages = [{"sample": np.int64(s), "amplitude": np.float32(0.1)} for s in (77, 370)]
    assert written(tmp_path, messages) == "sample,amplitude\n77,0.1\n370,0.1\n"


def test_columns_may_be_attributes_and_come_in_the_order_given(tmp_path: Path) -> None:
    message = Message({"x": np.float64(1) / 3, "y": np.int64(2)}, attributes={"frame": 5, "y": 99})
    assert written(tmp_path, [message], columns=("frame", "y", "x")) == "frame,y,x\n5,2,0.3333333333333333\n"


def test_columns_may_be_what_names_a_message(tmp_path: Path) -> None:
    message = Message({"x": np.int64(2)}, "mic", 0, 32_000_000)
    assert written(tmp_path, [message], columns=("event_time_ns", "seq", "x")) == "event_time_ns,seq,x\n32000000,0,2\n"


def test_named_columns_have_a_header_although_no_message_came(tmp_path: Path) -> None:
    assert written(tmp_path, [], columns=("sample", "time_s")) == "sample,time_s\n"


def test_nan_and_text_survive_a_csv_reader(tmp_path: Path) -> None:
    message = {"a": np.float64("nan"), "b": np.str_('say "hi", twice\nplease'), "c": np.array([7])}
    text = written(tmp_path, [message])
    assert list(csv.reader(text.splitlines(keepends=True)))[1] == ["nan", 'say "hi", twice\nplease', "7"]


def test_an_array_is_refused_with_its_shape(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column 'box': shape \[4\], expected one value"):
        written(tmp_path, [{"box": np.zeros(4)}])


def test_a_column_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 'y': only x, frame arrived"):
        written(tmp_path, [Message({"x": np.int64(1)}, attributes={"frame": 1})], columns=("y",))


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    drive(CsvWriter(), [{"x": np.int64(1)}])
    assert capsys.readouterr().out == "x\n1\n"


def test_a_missing_folder_is_found_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its folder does not exist"):
        CsvWriter(tmp_path / "no" / "out.csv").inspect()
