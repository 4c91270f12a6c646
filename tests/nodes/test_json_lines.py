"""JsonLines writes each message as one line that any JSON reader takes."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.postprocess import JsonLines
from nodes.postprocess.json_lines import plain
from streamflow import InputError, Message, Out
from streamflow.core.ports import unify_ports
from streamflow.testing.harness import drive


def lines(tmp_path: Path, messages: list[Any], **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "out.jsonl"
    drive(JsonLines(path, **settings), messages)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tensors_are_keys_and_scalars_are_plain_values(tmp_path: Path) -> None:
    message = {
        "count": np.int64(3),
        "loud": np.bool_(True),
        "label": np.str_("é"),
        "row": np.array([1.5, 2]),
        "table": np.arange(4, dtype=np.uint8).reshape(2, 2),
        "none": np.zeros((0, 4)),
    }
    assert lines(tmp_path, [message]) == [
        {"count": 3, "loud": True, "label": "é", "row": [1.5, 2.0], "table": [[0, 1], [2, 3]], "none": []}
    ]


def test_attributes_come_first_and_a_missing_one_is_null(tmp_path: Path) -> None:
    message = Message({"x": np.float64(1)}, attributes={"frame": 7, "time_s": 0.25})
    (line,) = lines(tmp_path, [message], attributes=("frame", "time_s", "other"))
    assert list(line.items()) == [("frame", 7), ("time_s", 0.25), ("other", None), ("x", 1.0)]


def test_a_tensor_goes_before_an_attribute_of_its_name(tmp_path: Path) -> None:
    message = Message({"sample": np.int64(1)}, attributes={"sample": 99})
    assert lines(tmp_path, [message], attributes=("sample",)) == [{"sample": 1}]


def test_what_names_a_message_can_be_written_too(tmp_path: Path) -> None:
    message = Message({"x": np.int64(1)}, "mic", 7, 32_000_000, attributes={"seq": 3})
    (line,) = lines(tmp_path, [message], attributes=("event_time_ns", "stream", "seq"))
    assert line == {"event_time_ns": 32_000_000, "stream": "mic", "seq": 3, "x": 1}


def test_a_table_zips_its_columns_into_objects(tmp_path: Path) -> None:
    message = {
        "box": np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32),
        "score": np.array([0.9, 0.7], np.float32),
        "class": np.array([39, 0]),
        "name": np.array(["bottle", "person"]),
        "count": np.int64(2),
    }
    tables = {"detections": ("box", "score", "class", "name")}
    assert lines(tmp_path, [message], tables=tables) == [
        {
            "count": 2,
            "detections": [
                {"box": [0.0, 1.0, 2.0, 3.0], "score": 0.9, "class": 39, "name": "bottle"},
                {"box": [4.0, 5.0, 6.0, 7.0], "score": 0.7, "class": 0, "name": "person"},
            ],
        }
    ]


def test_an_empty_table_is_an_empty_list(tmp_path: Path) -> None:
    message = {"box": np.zeros((0, 4), np.float32), "score": np.zeros(0, np.float32)}
    assert lines(tmp_path, [message], tables={"detections": ("box", "score")}) == [{"detections": []}]


def test_columns_of_unequal_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"box \[2, 4\], score \[3\], expected one leading length"):
        lines(tmp_path, [{"box": np.zeros((2, 4)), "score": np.zeros(3)}], tables={"d": ("box", "score")})


def test_fields_choose_and_order_the_tensors(tmp_path: Path) -> None:
    message = {"a": np.int64(1), "b": np.int64(2), "c": np.int64(3)}
    (line,) = lines(tmp_path, [message], fields=("c", "a"))
    assert list(line) == ["c", "a"]
    with pytest.raises(InputError, match="tensors a, b, c arrived, expected also d"):
        lines(tmp_path, [message], fields=("d",))


def test_nan_and_infinities_are_null(tmp_path: Path) -> None:
    message = Message({"x": np.float32("nan"), "y": np.array([1, np.inf, -np.inf])}, attributes={"z": float("nan")})
    assert lines(tmp_path, [message], attributes=("z",)) == [{"z": None, "x": None, "y": [1.0, None, None]}]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_written_short_and_reads_back_the_same(value: float) -> None:
    written = plain("x", np.array([value], np.float32))[0]
    assert np.float32(written) == np.float32(value)
    assert float(str(np.float32(value))) == written


def test_times_and_bytes_are_text_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    message = {"t": np.array(["2020-01-01T00:00:01"], "M8[s]"), "d": np.timedelta64(5, "ms"), "b": np.array(b"ab")}
    assert lines(tmp_path, [message]) == [{"t": ["2020-01-01T00:00:01"], "d": 5, "b": "ab"}]
    with pytest.raises(InputError, match="field 'c': dtype complex128"):
        lines(tmp_path, [{"c": np.complex128(1j)}])


def test_standard_output_gets_one_flushed_line_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    drive(JsonLines(), [{"x": np.int64(1)}, {"x": np.int64(2)}])
    assert capsys.readouterr().out == '{"x": 1}\n{"x": 2}\n'


def test_any_tensors_can_be_connected() -> None:
    port = JsonLines().inputs()["data"]
    assert unify_ports(Out("float32[4]").type, port.type, {}) == {}
    assert unify_ports(Out(a="float32[n]", b="str[n]").type, port.type, {}) == {}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(InputError, match="/dev/full: the disk is full"):
        drive(JsonLines("/dev/full"), [{"x": np.int64(1)}])


def test_a_file_that_cannot_grow_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(InputError, match=r"size limit.*the 99 bytes written before are whole"):
            drive(JsonLines(path), [{"x": np.int64(1)}] * 50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == '{"x": 1}\n' * 11
