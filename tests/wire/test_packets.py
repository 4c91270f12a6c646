"""Packets to frames and back: any bytes are a packet or a WireError, and what can be encoded can be decoded."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamflow import Message, WireError
from streamflow.core.message import Flag, Origin
from streamflow.wire import data
from streamflow.wire.data import HEADER_SIZE_LIMIT, INLINE_SIZE_LIMIT, ORIGIN_COUNT_LIMIT, TENSOR_COUNT_LIMIT
from streamflow.wire.packets import (
    NAME_SIZE_LIMIT,
    Credit,
    Data,
    End,
    Goodbye,
    Hello,
    Packet,
    Refuse,
    Revocation,
    Welcome,
    decode,
    encode,
)

COUNT = st.integers(0, (1 << 63) - 1)
INSTANT = st.integers(-(1 << 63), (1 << 63) - 1)
NAME = st.text(max_size=20)
ATTRIBUTES = st.dictionaries(
    st.text(max_size=8),
    st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=8) | st.booleans(),
    max_size=4,
)
TENSORS = st.dictionaries(
    st.text(max_size=8),
    hnp.arrays(st.sampled_from(["<f4", ">i2", "|b1", "<U2", "<M8[ns]"]), hnp.array_shapes(min_dims=0, min_side=0)),
    max_size=4,
)
DATA = st.builds(
    Data,
    COUNT,
    st.builds(
        Message,
        TENSORS,
        NAME,
        COUNT,
        INSTANT,
        ATTRIBUTES,
        INSTANT,
        st.integers(0, 7),
        INSTANT,
        origins=st.lists(st.builds(Origin, NAME, COUNT, INSTANT), max_size=ORIGIN_COUNT_LIMIT).map(tuple),
    ),
)
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    DATA,
    st.builds(Hello, COUNT, NAME, NAME, COUNT),
    st.builds(Welcome, COUNT),
    st.builds(Refuse, NAME),
    st.builds(Credit, COUNT, st.lists(COUNT, max_size=4).map(tuple)),
    st.builds(Revocation, COUNT),
    st.builds(End, COUNT),
    st.just(Goodbye()),
)


def frames_of(packet: Packet) -> list[bytes]:
    return [bytes(frame) for frame in encode(packet)]


def datum(**changes: Any) -> Data:
    return Data(0, Message(**{"tensors": {"array": np.zeros(3, "float32")}, "stream": "mic", **changes}))


def header_of(*fields: Any) -> bytes:
    packed = msgpack.packb(list(fields))
    assert isinstance(packed, bytes)
    return packed


HEAD = struct.Struct("<BBHIQqqqqqIIQ")
NUMBERS = {"kind": 4, "zero": 0, "mask": 0, "number": 0, "seq": 0, "event_time_ns": 0, "deadline_ns": 0, "sent_ns": 0,
           "flags": 0, "reserved": 0, "slots": 0}  # fmt: skip


def data_frame(
    stream: Any = "mic",
    tensors: Any = (),
    extras: Any = None,
    form: bytes | None = None,
    form_size: int | None = None,
    extras_size: int | None = None,
    rest: bytes = b"",
    **numbers: int,
) -> bytes:
    """The first frame of a datum that is right but for the changes."""
    form = header_of(stream, tensors) if form is None else form
    packed = b"" if extras is None else header_of(*extras)
    sizes = len(form) if form_size is None else form_size, len(packed) if extras_size is None else extras_size
    kind, zero, mask, *others = (NUMBERS | numbers).values()
    return HEAD.pack(kind, zero, *sizes, mask, *others) + form + packed + rest


# ---------------------------------------------------------------------------------------------- round trip


@given(PACKETS)
def test_every_packet_arrives_as_it_was_sent(packet: Packet) -> None:
    assert frames_of(decode(frames_of(packet))) == frames_of(packet)


@given(PACKETS.filter(lambda packet: not isinstance(packet, Data)))
def test_a_packet_without_data_is_one_frame_and_equal(packet: Packet) -> None:
    frames = frames_of(packet)
    assert len(frames) == 1
    assert decode(frames) == packet


def test_a_datum_keeps_its_names_times_attributes_and_tensors() -> None:
    tensors = {
        "box": np.arange(8, dtype="float32").reshape(2, 4),
        "score": np.float64(0.5) * np.ones(()),
        "none": np.zeros((0, 2)),
    }
    sent = Data(7, Message(tensors, "cam", 3, -5, {"frame": 12, "time_s": 0.25, "codec": "h264", "key": True}))
    received = decode(frames_of(sent))
    assert isinstance(received, Data)
    assert received.number == 7
    message = received.message
    assert (message.stream, message.seq, message.event_time_ns) == ("cam", 3, -5)
    assert message.attributes == sent.message.attributes
    assert [type(value) for value in message.attributes.values()] == [int, float, str, bool]
    assert list(message.tensors) == ["box", "score", "none"]
    for name, array in tensors.items():
        np.testing.assert_array_equal(message[name], array, strict=True)
        assert not message[name].flags.writeable


def test_a_datum_keeps_its_deadline_flags_origins_and_when_it_was_sent_and_says_when_it_was_read() -> None:
    origins = (Origin("mic", 4, -5), Origin("cam", 9, 1 << 62))
    sent = datum(deadline_ns=-7, flags=Flag.MISSED | Flag.DEGRADED, sent_ns=8, origins=origins)
    received = decode(frames_of(sent), 99)
    assert isinstance(received, Data)
    message = received.message
    assert (message.deadline_ns, message.flags, message.sent_ns, message.enqueued_ns) == (-7, 5, 8, 99)
    assert message.origins == origins
    assert all(isinstance(origin, Origin) for origin in message.origins)


def test_the_frame_that_tests_change_is_a_datum() -> None:
    assert decode([data_frame()]) == Data(0, Message({}, "mic"))
    assert decode([data_frame(extras=[{"gain": 2}, [["mic", 0, 0]]])]) == Data(
        0, Message({}, "mic", attributes={"gain": 2}, origins=(Origin("mic", 0, 0),))
    )


def test_small_tensors_travel_in_the_first_frame_and_large_ones_in_frames_of_their_own() -> None:
    small, large = np.arange(3.0), np.zeros(INLINE_SIZE_LIMIT + 1, "uint8")
    frames = frames_of(datum(tensors={"a": small, "large": large, "b": small}))
    assert [len(frame) for frame in frames[1:]] == [large.nbytes]
    received = decode(frames)
    assert isinstance(received, Data)
    assert list(received.message.tensors) == ["a", "large", "b"]
    np.testing.assert_array_equal(received.message["b"], small, strict=True)
    assert len(frames_of(datum(tensors={"a": np.zeros(INLINE_SIZE_LIMIT, "uint8")}))) == 1


@given(st.lists(st.integers(1, 70), min_size=1, max_size=4), ATTRIBUTES)
def test_a_tensor_in_the_first_frame_is_aligned(sizes: list[int], attributes: dict[str, Any]) -> None:
    tensors = {f"t{place}": np.full(size, place, "uint8") for place, size in enumerate(sizes)}
    received = decode(frames_of(datum(tensors=tensors, attributes=attributes)))
    assert isinstance(received, Data)
    for name, array in tensors.items():
        np.testing.assert_array_equal(received.message[name], array)
        assert received.message[name].ctypes.data % 16 == 0


def test_data_whose_shapes_always_differ_are_not_remembered_for_ever() -> None:
    for size in range(3_000):
        received = decode(frames_of(datum(tensors={"a": np.zeros(size, "uint8")})))
        assert isinstance(received, Data)
        assert received.message["a"].shape == (size,)
    assert max(len(data._incoming), len(data._outgoing)) <= data._FORM_LIMIT


def test_an_attribute_may_be_no_number() -> None:
    received = decode(frames_of(datum(attributes={"gain": math.nan})))
    assert isinstance(received, Data)
    assert math.isnan(float(received.message.attributes["gain"]))


# --------------------------------------------------------------------------------------- what cannot be sent


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"x", 1j, np.int64(3), np.zeros(1), 1 << 64, "\ud800"])
def test_an_attribute_that_could_not_be_received_is_not_sent(value: Any) -> None:
    with pytest.raises(WireError, match="expected int, float, str or bool"):
        encode(datum(attributes={"bad": value}))


def test_an_attribute_is_refused_by_its_name() -> None:
    with pytest.raises(WireError, match="message: attribute frame is a int64, expected int, float, str or bool"):
        encode(datum(attributes={"frame": np.int64(3)}))


def test_a_deadline_beyond_all_times_is_not_sent() -> None:
    with pytest.raises(WireError, match="deadline_ns 9223372036854775808 is out of range"):
        encode(datum(deadline_ns=1 << 63))


def test_more_origins_than_the_limit_are_refused() -> None:
    with pytest.raises(WireError, match="made from 9 data of sources, expected at most 8"):
        encode(datum(origins=(Origin("mic", 0, 0),) * (ORIGIN_COUNT_LIMIT + 1)))


@pytest.mark.parametrize("field", ["seq", "event_time_ns"])
def test_a_number_that_could_not_be_received_is_not_sent(field: str) -> None:
    with pytest.raises(WireError, match=field):
        encode(datum(**{field: 1 << 63}))


@pytest.mark.parametrize("field", ["seq", "event_time_ns"])
@pytest.mark.parametrize("value", [1.5, np.int64(1), None])
def test_what_is_no_whole_number_is_not_sent_as_one(field: str, value: Any) -> None:
    """Compiled, no message can have it."""
    with pytest.raises((WireError, TypeError), match=f"{field}|int object expected"):
        encode(datum(**{field: value}))


def test_more_tensors_than_the_limit_are_refused() -> None:
    tensors = {f"t{index}": np.zeros(1) for index in range(TENSOR_COUNT_LIMIT + 1)}
    with pytest.raises(WireError, match=f"{TENSOR_COUNT_LIMIT + 1} tensors, expected at most {TENSOR_COUNT_LIMIT}"):
        encode(datum(tensors=tensors))


def test_a_header_larger_than_the_limit_is_refused_with_what_to_do() -> None:
    with pytest.raises(WireError, match=r"a header of [\d,]+ bytes, expected at most 65,536; send it as a tensor"):
        encode(datum(attributes={"text": "x" * HEADER_SIZE_LIMIT}))


# ----------------------------------------------------------------------------------------- what is no packet


def test_no_frames_are_no_packet() -> None:
    with pytest.raises(WireError, match="no bytes"):
        decode([])


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"GET / HTTP/1.1\r\n\r\n"],
        [header_of()],
        [header_of("4")],
        [header_of(True, 1)],
        [header_of(0)],
        [header_of(9)],
        [header_of(-1)],
        [header_of(2)],
        [header_of(2, "3")],
        [header_of(2, True)],
        [header_of(2, -1)],
        [header_of(2, 1 << 63)],
        [header_of(8, 0)],
        [header_of(2, 1), b""],
        [header_of(1, 1, "x" * (NAME_SIZE_LIMIT + 1), "", 0)],
        [header_of(3, "x" * HEADER_SIZE_LIMIT)],
        [msgpack.packb({"kind": 4})],
        [msgpack.packb(msgpack.ExtType(4, b""))],
        [header_of(4)],
        [bytes([4])],
        [bytes([4]) * 63],
        [data_frame(tensors=[["array", "<f4", [1]]])],
        [data_frame(tensors=[["array", "<f4", [1]]]), b"123"],
        [data_frame(tensors=[["array", "<f4", [1]]], mask=1, rest=b"123")],
        [data_frame(tensors=[["array", "<f4", [1]]], mask=1, rest=b"1234567890123456789012345678901234567890")],
        [data_frame(mask=1)],
        [data_frame(), b"rest"],
        [data_frame(rest=b"rest")],
        [data_frame(tensors=[["a", "|u1", [1]], ["a", "|u1", [1]]]), b"x", b"y"],
        [data_frame(tensors=[[b"a", "|u1", [1]]]), b"x"],
        [data_frame(tensors={"a": 1}), b"x"],
        [data_frame(tensors=[["a", "|u1", [0]]] * 65), *[b""] * 65],
        [data_frame(stream=b"mic")],
        [data_frame(form=b"")],
        [data_frame(form=b"\xc1")],
        [data_frame(form=header_of("mic"))],
        [data_frame(form_size=3)],
        [data_frame(form_size=0xFFFF)],
        [data_frame(extras_size=0xFFFFFFFF)],
        [data_frame(extras=[{}])],
        [data_frame(extras=[{"a": None}, []])],
        [data_frame(extras=[[], []])],
        [data_frame(extras=[{}, None])],
        [data_frame(extras=[{}, {}])],
        [data_frame(extras=[{}, [["mic", 0]]])],
        [data_frame(extras=[{}, [["mic", -1, 0]]])],
        [data_frame(extras=[{}, [["mic", 0, 1 << 63]]])],
        [data_frame(extras=[{}, [["mic", 0, 0.5]]])],
        [data_frame(extras=[{}, [[b"mic", 0, 0]]])],
        [data_frame(extras=[{}, [["mic", 0, 0]] * (ORIGIN_COUNT_LIMIT + 1)])],
        [data_frame(number=-1)],
        [data_frame(seq=-1)],
        [data_frame(zero=1)],
        [data_frame(reserved=1)],
        [header_of(5, 1)],
        [header_of(5, 1, 0)],
        [header_of(5, 1, ["0"])],
        [header_of(5, 1, [-1])],
        [header_of(5, 1, [True])],
        [b"\x91" * 60_000],  # arrays in arrays in arrays
        [b"\x94\x04" + b"\xdd\xff\xff\xff\xff" * 100],  # arrays that promise four thousand million elements each
        [b"\xdf\xff\xff\xff\xff"],
        [b"\xc6\xff\xff\xff\xff"],
        [header_of(2, 1) + b"\x00"],
    ],
)
def test_bytes_that_are_no_packet_are_a_wire_error(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(frames)


VALID = [frames_of(datum()), frames_of(Hello(1, "a->b", "0f", 0)), frames_of(Credit(3))]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=6)
    | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def packet_or_wire_error(frames: list[bytes]) -> None:
    try:
        packet = decode(frames)
    except WireError:
        return
    encode(packet)


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_a_packet_or_a_wire_error(frames: list[bytes]) -> None:
    packet_or_wire_error(frames)


@given(
    JUNK, JUNK, st.lists(JUNK, max_size=3) | st.none(), st.integers(0, 3), st.lists(st.binary(max_size=8), max_size=3)
)
@example("mic", [["tensors", "<M8[", [1]]], None, 0, [b"12345678"])
def test_any_values_in_the_first_frame_of_a_datum_are_a_packet_or_a_wire_error(
    stream: Any, tensors: Any, extras: Any, mask: int, rest: list[bytes]
) -> None:
    packet_or_wire_error([data_frame(stream, tensors, extras, mask=mask), *rest])


@given(st.integers(0, 9), st.lists(JUNK, max_size=11), st.lists(st.binary(max_size=8), max_size=3))
def test_any_values_in_a_header_are_a_packet_or_a_wire_error(kind: int, fields: list[Any], rest: list[bytes]) -> None:
    packet_or_wire_error([header_of(kind, *fields), *rest])


@given(
    st.sampled_from(VALID),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 200),
)
def test_a_packet_with_flipped_cut_or_missing_bytes_is_a_packet_or_a_wire_error(
    valid: list[bytes], which: int, flips: list[tuple[int, int]], cut: int
) -> None:
    frames = list(valid)
    changed = bytearray(frames[which % len(frames)])
    for position, value in flips:
        if changed:
            changed[position % len(changed)] = value
    frames[which % len(frames)] = bytes(changed[:cut])
    packet_or_wire_error(frames)


@given(st.integers(0, 15), st.integers(0, 0xFFFFFFFF))
def test_a_promised_length_is_never_believed(kind: int, length: int) -> None:
    packet_or_wire_error([bytes([0xD0 + kind]) + struct.pack(">I", length)])
    packet_or_wire_error([data_frame(form=b"\x92\xa0" + bytes([0xD0 + kind]) + struct.pack(">I", length))])
