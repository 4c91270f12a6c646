"""What a link over sockets refuses: strangers, ends that do not agree, broken promises, places that cannot be."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from streamflow.core.accounting import broken_sums
from streamflow.errors import BrokenLinkError, LinkError, RefusedLinkError
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.packets import PROTOCOL_VERSION, Data, Hello, Packet, Refuse, Welcome, decode, encode
from tests.conformance.edges import HANG_LIMIT_S, TERMS, Edge, Sockets, datum


class Stranger:
    """A socket that says what it likes to a receiver."""

    def __init__(self, sockets: Sockets, endpoint: str) -> None:
        self._socket = sockets.connected(endpoint)

    def say(self, *packets: Packet | list[bytes]) -> None:
        for packet in packets:
            self._socket.send(packet if isinstance(packet, list) else encode(packet))

    async def hear(self) -> Packet:
        while (frames := self._socket.receive()) is None:
            await self._socket.wait_arrival()
        return decode(frames)


@pytest.fixture(params=["ipc", "tcp", "memory", "direct"])
def receiver(request: pytest.FixtureRequest, sockets: Sockets, endpoints: dict[str, str]) -> SocketReceiver:
    return sockets.receiver(endpoints[request.param])


HELLO = Hello(PROTOCOL_VERSION, TERMS.edge, TERMS.schema, TERMS.generation)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([b"GET / HTTP/1.1\r\n\r\n"], "bytes that are no packet"),
        ([b""], "bytes that are no packet"),
        ([b"\x93\x04", b"x" * 5000, b""], "bytes that are no packet"),
        (
            replace(HELLO, version=PROTOCOL_VERSION + 1),
            f"protocol version {PROTOCOL_VERSION + 1}, expected {PROTOCOL_VERSION}",
        ),
        (replace(HELLO, version=0), f"protocol version 0, expected {PROTOCOL_VERSION}"),
        (replace(HELLO, edge="x->y"), "edge x->y, expected a.out->b.in"),
        (replace(HELLO, schema="beef"), "schema beef, expected 5eed"),
        (replace(HELLO, generation=0), "generation 0, expected 1"),
        (HELLO, "the edge has its sender already"),
        (Data(0, datum(0)), "a Data without a hello"),
    ],
    ids=["http", "empty", "cut", "newer", "older", "edge", "schema", "generation", "second", "rude"],
)
async def test_a_stranger_is_refused_with_the_reason_and_disturbs_nobody(
    sockets: Sockets, receiver: SocketReceiver, said: Packet | list[bytes], reason: str
) -> None:
    edge = Edge(sockets.sender(receiver.endpoint), receiver, receiver._bell)
    stranger = Stranger(sockets, receiver.endpoint)
    async with edge.working():
        await edge.sender.wait_open()
        for seq in range(20):
            await edge.send(datum(seq))
            stranger.say(said)
            answer = await stranger.hear()
            assert isinstance(answer, Refuse)
            assert reason in answer.reason
            message = await edge.receive()
            assert message is not None
            assert message.seq == seq
        edge.sender.end()
        await edge.receive_all()
        await edge.sender.wait_closed()
    assert receiver.stranger_count == 20
    assert broken_sums("edge", edge.counts(), ended=True) == []


@pytest.mark.parametrize("change", [{"schema": "beef"}, {"generation": 0}, {"edge": "x->y"}])
async def test_a_sender_that_does_not_agree_learns_why(
    sockets: Sockets, receiver: SocketReceiver, change: dict[str, Any]
) -> None:
    sender = sockets.sender(receiver.endpoint, replace(TERMS, **change))
    with trio.fail_after(HANG_LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.run)
            (name,) = change
            with pytest.raises(RefusedLinkError, match=f"refused by its receiver: {name} "):
                await sender.run()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([[b"\xff\xff"]], "its sender sent no packet"),
        ([Data(number, datum(number)) for number in range(9)], "datum 8 is out of order or beyond its credits"),
        ([Data(1, datum(1))], "datum 1 is out of order or beyond its credits"),
        ([Welcome(1)], "a Welcome while open"),
    ],
    ids=["garbage", "beyond credits", "gap", "out of place"],
)
async def test_a_sender_that_breaks_its_promise_breaks_the_link(
    sockets: Sockets, receiver: SocketReceiver, said: list[Packet | list[bytes]], sentence: str
) -> None:
    sender = Stranger(sockets, receiver.endpoint)
    with trio.fail_after(HANG_LIMIT_S):
        async with trio.open_nursery() as nursery:

            async def greet() -> None:
                sender.say(HELLO)
                assert await sender.hear() == Welcome(8)
                sender.say(*said)

            nursery.start_soon(greet)
            with pytest.raises(BrokenLinkError, match=sentence):
                await receiver.run()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ([b"\xff\xff"], "its receiver sent no packet"),
        (encode(Welcome(9)), "9 credits granted, expected at most 8"),
        (encode(HELLO), "a Hello while greeting"),
    ],
    ids=["garbage", "too many credits", "out of place"],
)
@pytest.mark.parametrize("kind", ["ipc", "tcp", "memory", "direct"])
async def test_a_receiver_that_breaks_its_promise_breaks_the_link(
    sockets: Sockets, endpoints: dict[str, str], kind: str, answer: list[bytes], sentence: str
) -> None:
    router, endpoint = sockets.bound(endpoints[kind])
    sender = sockets.sender(endpoint)
    with trio.fail_after(HANG_LIMIT_S):
        while (frames := router.receive()) is None:
            await router.wait_arrival()
        assert decode(frames[1:]) == HELLO
        router.send([frames[0], *answer])
        with pytest.raises(BrokenLinkError, match=sentence):
            await sender.run()


def test_a_socket_in_the_file_system_is_for_its_user_only(sockets: Sockets, tmp_path: Path) -> None:
    sockets.receiver(f"ipc://{tmp_path}/e")
    mode = (tmp_path / "e").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:*",
        "tcp://*:*",
        "tcp://192.0.2.1:5555",
        "tcp://127.0.0.1.example.com:5555",
        "tcp://localhost.example.com:5555",
        "tcp://127.0.0.1:0;192.0.2.1:5555",
        "tcp://[::]:5555",
        "udp://127.0.0.1:5555",
    ],
)
def test_nothing_leaves_this_host_until_links_have_keys(sockets: Sockets, endpoint: str) -> None:
    sentence = "not on this host, expected a loopback address; links have no keys yet: use an ssh tunnel"
    with pytest.raises(LinkError, match=sentence):
        sockets.receiver(endpoint)
    with pytest.raises(LinkError, match=sentence):
        sockets.sender(endpoint)


def test_a_socket_path_that_is_too_long_is_told_with_what_to_do(sockets: Sockets, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/{'x' * 108}"
    with pytest.raises(LinkError, match="a socket path that is too long, expected at most 107 bytes; set TMPDIR"):
        sockets.receiver(endpoint)


def test_a_port_that_is_taken_is_told_by_name(sockets: Sockets) -> None:
    taken = sockets.receiver("tcp://127.0.0.1:*").endpoint
    with pytest.raises(LinkError, match=f"{taken}: cannot be bound: Address already in use"):
        sockets.receiver(taken)


def test_closing_never_waits_for_what_nobody_will_read(endpoints: dict[str, str]) -> None:
    with ZmqContext() as context:
        sender = SocketSender(context, endpoints["ipc"], TERMS)
        sender.offer(datum(0))
        sender.close()
