"""A datum in a recording: back bit for bit, and as other tools see it."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mcap.records import Schema
from mcap_protobuf.decoder import DecoderFactory

from nodes.mcap_files import wire
from nodes.mcap_files.datum import Encoder, decode
from nodes.mcap_files.schemas import View, schema_of
from nodes.mcap_files.views import Shown, view_of
from streamflow import Message, WireError
from streamflow.core.message import Origin
from streamflow.core.ports import PortType, parse_tensor

WALL_OFFSET_NS = 1_700_000_000_000_000_000
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
DTYPES = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 >f4 >i8 U3 S4 M8[ns] m8[us] >c8".split()


def encoder(view: View) -> Encoder:
    return Encoder(view, "cam.image", 16_000.0, lambda instant_ns: max(instant_ns + WALL_OFFSET_NS, 0))


def any_array(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Of any bytes that an array of the dtype may have: every NaN, truth values of more than one bit."""
    found = np.dtype(dtype)

    def filled(shape_and_bytes: tuple[tuple[int, ...], bytes]) -> np.ndarray:
        shape, content = shape_and_bytes
        size = int(np.prod(shape)) * found.itemsize
        return np.frombuffer((content * (size // len(content) + 1))[:size], found).reshape(shape)

    shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    content = st.just(b"ABCD") if found.kind == "U" else st.binary(min_size=8, max_size=64)
    if found.kind == "U":
        return shapes.map(lambda shape: np.full(shape, "aé", found))
    return st.tuples(shapes, content).map(filled)


MESSAGES = st.builds(
    Message,
    st.dictionaries(NAME, st.sampled_from(DTYPES).flatmap(any_array), max_size=3),
    NAME,
    st.integers(0, (1 << 63) - 1),
    INT64,
    st.dictionaries(
        NAME,
        st.booleans() | INT64 | st.integers(1 << 63, (1 << 64) - 1) | st.floats(allow_nan=False) | NAME,
        max_size=4,
    ),
    INT64,
    st.integers(0, 15),
    INT64,
    st.just(0),
    st.lists(st.builds(Origin, NAME, st.integers(0, (1 << 63) - 1), INT64), max_size=3).map(tuple),
)


def assert_same(found: Message, sent: Message) -> None:
    assert found.replace(tensors={}) == sent.replace(tensors={})
    assert [type(value) for value in found.attributes.values()] == [type(value) for value in sent.attributes.values()]
    assert list(found.tensors) == list(sent.tensors)
    for name, array in sent.tensors.items():
        again = found.tensors[name]
        assert (again.dtype.str, again.shape, again.tobytes()) == (array.dtype.str, array.shape, array.tobytes())


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.sampled_from(View))
def test_a_datum_comes_back_bit_for_bit_however_it_is_shown(message: Message, view: View) -> None:
    assert_same(decode(encoder(view).encode(message), view), message)


def test_the_payload_of_a_nan_is_kept() -> None:
    signalling = np.frombuffer(struct.pack("<III", 0x7FA00001, 0xFFC12345, 0x80000000), np.float32)
    for view in View:
        sent = Message({"array": signalling}, "mic", 3, 5, {"x": -0.0})
        found = decode(encoder(view).encode(sent), view)
        assert found.array.tobytes() == signalling.tobytes()
        assert str(found.attributes["x"]) == "-0.0"


def test_what_is_no_contiguous_array_is_kept_as_it_looks() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::3]
    for view in View:
        found = decode(encoder(view).encode(Message({"array": array}, "cam")), view)
        np.testing.assert_array_equal(found.array, array)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(View))
def test_bytes_that_are_no_datum_are_refused_and_nothing_else(data: bytes, view: View) -> None:
    with suppress(WireError):
        decode(data, view)


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.sampled_from(View), st.data())
def test_a_datum_with_a_flipped_bit_is_a_datum_or_refused(message: Message, view: View, data: st.DataObject) -> None:
    encoded = bytearray(encoder(view).encode(message))
    at = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[at // 8] ^= 1 << at % 8
    with suppress(WireError):
        decode(bytes(encoded), view)


def test_an_attribute_of_another_wire_type_is_refused() -> None:
    """A number of 64 bits that comes as bytes."""
    attribute = wire.sized(8, wire.text(1, "gain") + wire.sized(4, b"12345678"))
    with pytest.raises(WireError, match="cannot be read"):
        decode(attribute, View.TENSOR)


# ------------------------------------------------------------------------------- as other tools see it


def seen(view: View, message: Message):
    """By a reader that knows nothing but the schema that is in the file."""
    schema = Schema(id=1, data=schema_of(view), encoding="protobuf", name=view.value)
    decoder = DecoderFactory().decoder_for("protobuf", schema)
    assert decoder is not None
    return decoder(encoder(view).encode(message))


def test_an_image_is_a_raw_image_of_foxglove() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    found = seen(View.IMAGE, Message({"array": pixels}, "cam", 7, 1_500_000_001, {"frame": 7}))
    assert (found.width, found.height, found.step, found.encoding) == (6, 4, 18, "bgr8")
    assert (found.timestamp.seconds, found.timestamp.nanos) == (1_700_000_001, 500_000_001)
    assert found.data == pixels.tobytes()
    assert found.frame_id == "cam.image"
    assert (found.datum.stream, found.datum.seq, found.datum.event_time_ns) == ("cam", 7, 1_500_000_001)
    grey = seen(View.IMAGE, Message({"array": pixels[:, :, 0].copy()}, "cam"))
    assert (grey.encoding, grey.step) == ("mono8", 6)


def test_pixels_are_in_the_file_once() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    assert len(encoder(View.IMAGE).encode(Message({"array": pixels}, "cam"))) < pixels.nbytes + 200


def test_sound_is_a_raw_audio_of_foxglove_with_the_exact_samples_beside_it() -> None:
    samples = np.array([[0.0, 0.5, 1.5], [-1.0, np.nan, 1e-9]], np.float32)
    found = seen(View.AUDIO, Message({"array": samples}, "mic"))
    assert (found.format, found.sample_rate, found.number_of_channels) == ("pcm-s16", 16_000, 2)
    assert struct.unpack("<6h", found.data) == (0, -32768, 16384, 0, 32767, 0)
    assert list(found.datum.tensors[0].float32)[:3] == [0.0, 0.5, 1.5]


def test_motion_has_the_names_of_an_imu() -> None:
    rows = np.array([[0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]], np.float32)
    found = seen(View.IMU, Message({"array": rows}, "imu"))
    acceleration, velocity = found.linear_acceleration, found.angular_velocity
    assert (acceleration.x, acceleration.y, acceleration.z) == (1, 2, 3)
    assert (velocity.x, velocity.y, velocity.z) == (4, 5, 6)


@pytest.mark.parametrize(
    ("dtype", "field"),
    [
        ("f4", "float32"),
        ("f8", "float64"),
        ("i4", "int32"),
        ("u4", "uint32"),
        ("i8", "int64"),
        ("u8", "uint64"),
        ("?", "boolean"),
        ("f2", "numbers"),
        ("i1", "numbers"),
        ("u2", "numbers"),
        (">f4", "numbers"),
    ],
)
def test_the_numbers_of_a_tensor_can_be_plotted(dtype: str, field: str) -> None:
    array = np.array([[0, 1], [1, 0]], dtype)
    found = seen(View.TENSOR, Message({"probability": array}, "vad", attributes={"n": 3, "ok": True}))
    (tensor,) = found.tensors
    assert (tensor.name, tensor.dtype, list(tensor.shape)) == ("probability", array.dtype.str, [2, 2])
    assert list(getattr(tensor, field)) == [0, 1, 1, 0]
    assert [(one.name, one.integer, one.truth) for one in found.attributes] == [("n", 3, False), ("ok", 0, True)]


@pytest.mark.parametrize(
    ("output", "tensor", "rate_hz", "view"),
    [
        ("cam.frame", "uint8[height, width, 3]", 30.0, View.IMAGE),
        ("cam.frame", "uint8[480, 640]", None, View.IMAGE),
        ("cam.mask", "uint8[480, 640, 2]", None, View.TENSOR),
        ("mic.samples", "float32[512]", 16_000.0, View.AUDIO),
        ("mic.samples", "float32[2, 512]", 48_000.0, View.AUDIO),
        ("heart.ecg", "float32[2, 36]", 360.0, View.TENSOR),
        ("imu.signal", "float32[1, 6]", 200.0, View.IMU),
        ("detector.boxes", "float32[n, 6]", None, View.TENSOR),
        ("any.thing", "float32[...]", 16_000.0, View.TENSOR),
    ],
)
def test_the_view_is_guessed_by_the_type(output: str, tensor: str, rate_hz: float | None, view: View) -> None:
    assert view_of(output, "Node", PortType({"array": parse_tensor(tensor)}, rate_hz)) is view


@pytest.mark.parametrize(
    ("word", "tensor", "fits"),
    [
        ("image", "uint8[height, width]", True),
        ("image", "uint16[height, width]", True),
        ("image", "uint8[height, width, colours]", True),
        ("image", "any[...]", True),
        ("image", "bool[2]", False),
        ("image", "uint8[3, height, width]", False),
        ("image", "uint8[480, 640, 2]", False),
        ("image", "uint16[480, 640, 3]", False),
        ("rgb8", "uint8[480, 640, 3]", True),
        ("rgb8", "uint8[480, 640]", False),
        ("mono16", "uint8[480, 640]", False),
        ("audio", "float32[channels, time]", True),
        ("audio", "uint8[480, 640]", False),
        ("audio", "float32[]", False),
        ("imu", "float32[6]", True),
        ("imu", "float64[rows, columns]", True),
        ("imu", "float32[time]", False),
        ("imu", "float32[rows, 3]", False),
        ("tensor", "str[]", True),
    ],
)
def test_a_view_is_refused_where_no_datum_could_be_shown_so(word: str, tensor: str, fits: bool) -> None:
    assert (Shown.asked(word).lacks(PortType({"array": parse_tensor(tensor)}, 100.0)) == "") is fits


@pytest.mark.parametrize(
    ("word", "dtype", "shape", "encoding", "step"),
    [
        ("image", "uint8", (4, 6, 3), "bgr8", 18),
        ("rgb8", "uint8", (4, 6, 3), "rgb8", 18),
        ("image", "uint8", (4, 6), "mono8", 6),
        ("image", "uint16", (4, 6), "mono16", 12),
        ("mono16", "uint8", (4, 6), "", 0),
        ("image", ">u2", (4, 6), "", 0),
    ],
)
def test_the_encoding_of_an_image_is_as_was_said_or_by_its_type(
    word: str, dtype: str, shape: tuple[int, ...], encoding: str, step: int
) -> None:
    shown = Shown.asked(word)
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    message = Message({"array": array}, "cam")
    encoded = Encoder(shown.view, "cam.image", None, lambda _: 0, shown.encoding).encode(message)
    schema = Schema(id=1, data=schema_of(shown.view), encoding="protobuf", name=shown.view.value)
    decoder = DecoderFactory().decoder_for("protobuf", schema)
    assert decoder is not None
    told = decoder(encoded)
    assert (told.encoding, told.step, told.data) == (encoding, step, array.tobytes() if encoding else b"")
    assert_same(decode(encoded, shown.view), message)
