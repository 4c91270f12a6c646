"""Arrays that arrive as UDP datagrams."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import trio

from nodes.ingest import UdpDatagrams
from streamflow import InputError
from streamflow.testing import drive


@pytest.fixture
def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Fed(UdpDatagrams):
    """Sends itself these datagrams once it listens, so that a test needs no second program."""

    def feed(self, *datagrams: bytes) -> UdpDatagrams:
        self.datagrams = datagrams
        return self

    async def open(self) -> None:
        await super().open()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in self.datagrams:
                sender.sendto(datagram, ("127.0.0.1", self.port))


def test_a_datagram_becomes_an_array_of_the_dtype_and_shape(free_port: int) -> None:
    sent = [np.full((2, 3), i, dtype=np.float32) for i in range(3)]
    node = Fed(free_port, shape=(2, 3)).feed(*(array.tobytes() for array in sent))
    arrived = drive(node, limit=3)["arrays"]
    assert [message.attributes["sample"] for message in arrived] == [0, 1, 2]
    for message, array in zip(arrived, sent, strict=True):
        assert message.array.dtype == np.float32
        assert np.array_equal(message.array, array)


def test_big_endian_datagrams_arrive_in_native_order(free_port: int) -> None:
    node = Fed(free_port, dtype=">i2", shape=(2,)).feed(b"\x01\x02\xff\xfe")
    (message,) = drive(node, limit=1)["arrays"]
    assert message.array.dtype == np.dtype("int16")
    assert message.array.tolist() == [0x0102, -2]


def test_a_datagram_of_another_size_is_counted_and_told_and_the_next_one_arrives(free_port: int) -> None:
    good = np.float32(7).tobytes()
    driven = drive(Fed(free_port).feed(b"abc", b"", good, b"x" * 5), limit=4)
    told = [(int(m["size_bytes"]), int(m["count"])) for m in driven["malformed"]]
    assert told == [(3, 1), (0, 2), (5, 3)]
    assert [m.array.tolist() for m in driven["arrays"]] == [[7.0]]


def test_a_port_that_is_taken_is_an_input_error(free_port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", free_port))
        with pytest.raises(InputError, match=rf"127.0.0.1:{free_port}: the port is already taken, expected a free one"):
            drive(UdpDatagrams(free_port), limit=1)


def test_the_port_is_free_again_once_the_node_is_closed(free_port: int) -> None:
    for _ in range(2):
        drive(Fed(free_port).feed(np.float32(1).tobytes()), limit=1)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_a_host_that_is_not_loopback_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=r"not this machine's loopback.*allow_remote=True"):
        UdpDatagrams(5000, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_accepted_in_every_spelling(host: str) -> None:
    assert UdpDatagrams(5000, host=host).host == host


def test_a_remote_host_is_accepted_when_it_is_asked_for() -> None:
    assert UdpDatagrams(5000, host="0.0.0.0", allow_remote=True).host == "0.0.0.0"


def test_an_address_of_another_machine_cannot_be_listened_on(free_port: int) -> None:
    with pytest.raises(InputError, match="expected an address of this machine"):
        drive(UdpDatagrams(free_port, host="192.0.2.1", allow_remote=True), limit=1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"port": 0}, "port: 0, expected 1 to 65535"),
        ({"port": 70000}, "port: 70000, expected 1 to 65535"),
        ({"port": 5000, "dtype": "object"}, "dtype: 'object', expected a NumPy number"),
        ({"port": 5000, "dtype": "nonsense"}, "dtype: 'nonsense', expected a NumPy number"),
        ({"port": 5000, "shape": (0,)}, "is 0 bytes, expected 1 to 65507"),
        ({"port": 5000, "shape": (20000,)}, "is 80000 bytes, expected 1 to 65507 in a datagram; send fewer"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(settings: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("(", r"\(")):
        UdpDatagrams(**settings)


def test_the_port_type_tells_dtype_and_shape() -> None:
    assert str(UdpDatagrams(5000, dtype=">f8", shape=(4, 2)).arrays.type) == "float64[4, 2]"


async def test_waiting_for_a_datagram_can_be_cancelled(free_port: int) -> None:
    node = UdpDatagrams(free_port)
    await node.open()
    with trio.move_on_after(0.01) as scope:
        await node.run()
    node.close()
    assert scope.cancelled_caught
