"""Bytes are a recorder, or an error of one sentence."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import RecorderError
from streamflow.recorder.layout import HEAD, SHAPE_OFFSET, VERSION, WORD, Layout, check_machine, encode_shape
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import DTYPE, Record
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder

SHAPE = Shape("a", 0, (("e", 2),), (("f", 3),), ("a", "b"), ("p",), (0,), 4, 3)


def whole() -> bytearray:
    recorder = Recorder.in_memory(SHAPE)
    recorder.begin(0, 1, 2, 3, 4, 5, 6, 1)
    recorder.finish(3, 0, 9, 0, 0, 1, 1)
    recorder.outputs[0].accept(((0, 1),), 1)
    recorder.batched(2)
    return bytearray(recorder.buffer[:])


def read_all(recording: Recording) -> None:
    recording.counters()
    recording.inputs()
    recording.outputs()
    recording.removed(0, 0)
    recording.live(0)
    recording.in_service()
    recording.tail(0)
    recording.tail_records(0)
    recording.marked(0)
    recording.find(0, 1)
    recording.between(0, 10)
    recording.batch_sizes()
    for name in ("service", "batch_wait", "latency:p", "transport:e"):
        recording.histogram(name).summary_ms()


@given(st.data())
@settings(max_examples=150)
def test_damaged_bytes_are_a_recording_or_an_error(data: st.DataObject) -> None:
    damaged = whole()
    last = data.draw(st.sampled_from([64, 64 + 512 + 128 + 300, len(damaged)])) - 1
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    with contextlib.suppress(RecorderError):
        read_all(Recording.over(damaged))


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_any_bytes_are_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(RecorderError, match=r"^recorder: [^\n]*, expected [^\n]*$"):
        Recording.over(data)


@given(st.binary(min_size=64, max_size=64), st.integers(0, 10_000))
@settings(max_examples=50)
def test_any_content_in_a_whole_frame_is_read_without_an_exception(noise: bytes, seed: int) -> None:
    damaged = whole()
    at = SHAPE_OFFSET + -(-Layout.of(SHAPE).shape_size // 64) * 64
    damaged[at:] = np.random.default_rng(seed).bytes(len(damaged) - at)
    damaged[HEAD * WORD + WORD : HEAD * WORD + WORD + 64] = noise
    read_all(Recording.over(damaged))


def test_a_newer_version_is_named() -> None:
    newer = whole()
    newer[8:12] = struct.pack("<I", VERSION + 1)
    with pytest.raises(RecorderError, match="recorder version 6, expected version 5; a newer streamflow wrote it"):
        Recording.over(newer)


def test_another_kind_of_file_is_named() -> None:
    with pytest.raises(RecorderError, match="the file is no recorder"):
        Recording.over(b"\x89PNG" + bytes(100))


def test_a_file_whose_maker_died_over_it_is_named() -> None:
    with pytest.raises(RecorderError, match="its owner died while it made it"):
        Recording.over(bytes(10_000))


def test_a_file_that_was_cut_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(whole()[:-100])
    with pytest.raises(RecorderError, match=f"{path}: .* bytes, expected .*, as its header says; the file was cut"):
        Recording.open(path)
    with pytest.raises(RecorderError, match="the file was cut"):
        Recorder.attach(path, SHAPE)
    for text in (b"", b"SFLOWREC"):
        path.write_bytes(text)
        with pytest.raises(RecorderError):
            Recording.open(path)
        with pytest.raises(RecorderError):
            Recorder.attach(path, SHAPE)
    with pytest.raises(RecorderError, match="cannot be opened"):
        Recording.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"stage": 1}', json.dumps(SHAPE.to_json() | {"in_edges": [["e"]]}), "[" * 100_000]
)
def test_a_shape_that_is_none_is_damage(text: str) -> None:
    damaged = whole()
    encoded = text.encode()
    damaged[SHAPE_OFFSET:] = encoded + bytes(64)
    struct.pack_into("<QQQI", damaged, 16, len(damaged), SHAPE_OFFSET, len(encoded), zlib.crc32(encoded))
    with pytest.raises(RecorderError, match="a shape that cannot be read"):
        Recording.over(damaged)


def test_a_big_endian_machine_is_refused() -> None:
    with pytest.raises(RecorderError, match="this machine is big-endian, expected a little-endian one"):
        check_machine("recorder", "big")


def test_a_record_has_the_fields_that_the_format_says() -> None:
    """FORMAT.md's table: a change of an offset is a new version."""
    offsets = {name: field[1] for name, field in (DTYPE.fields or {}).items()}
    assert offsets == {
        "serial": 0,
        "kind": 8,
        "flags": 10,
        "batch": 12,
        "stream": 16,
        "sender": 20,
        "seq": 24,
        "event_time_ns": 32,
        "sent_ns": 40,
        "enqueued_ns": 48,
        "started_ns": 56,
        "deadline_ns": 64,
        "ended_ns": 72,
        "device_done_ns": 80,
        "blocked_ns": 88,
        "mask": 96,
        "serial_again": 104,
    }
    assert tuple(offsets)[:-1] == Record._fields


def test_every_part_begins_at_a_cache_line() -> None:
    layout = Layout.of(SHAPE)
    parts = [layout.service, layout.batch_wait, layout.batch_sizes]
    parts += [*layout.latency.values(), *layout.transport, *layout.inputs, *layout.outputs, layout.ring]
    assert parts == sorted(parts)
    assert [offset % 64 for offset in (*parts, layout.size)] == [0] * (len(parts) + 1)
    assert Shape.from_json(json.loads(encode_shape(SHAPE))) == SHAPE
