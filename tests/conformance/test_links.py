"""What every link promises, whichever way its data travel; and what a link over sockets refuses.

One body for all implementations, on the real clock, both ends in one process: the local link, and the one over
sockets with each kind of them.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from streamflow import Message, Overflow
from streamflow.core.accounting import EdgeCounts, broken_sums
from streamflow.errors import BrokenLinkError, ClosedLinkError, LinkError, RefusedLinkError
from streamflow.runtime.clock import TrioClock
from streamflow.transport.direct_socket import DirectContext
from streamflow.transport.link import Bell, Receiver, Sender
from streamflow.transport.local_link import LocalLink, LocalReceiver, LocalSender
from streamflow.transport.memory_socket import MemoryNetwork
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.transport.sockets import Socket, SocketContext
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.packets import PROTOCOL_VERSION, Data, Hello, Packet, Refuse, Welcome, decode, encode
from streamflow.wire.session import EdgeTerms

TERMS = EdgeTerms("a.out->b.in", "5eed", Overflow.BLOCK, capacity=8, generation=1)
DIRECT = ".direct"  # at the end of an endpoint
HANG_LIMIT_S = 10  # a promise that is not kept shows as a failure, not as a test that never ends


@dataclass
class Edge:
    """Both ends of one edge."""

    sender: Sender
    receiver: Receiver
    bell: Bell
    picks: bool = False

    async def send(self, message: Message) -> int:
        """Offer until accepted; how often it was refused."""
        refusals = 0
        while not self.sender.offer(message):
            refusals += 1
            await self.sender.wait_for_room()
        return refusals

    async def receive(self) -> Message | None:
        """The next datum, or None at the end of the stream."""
        while True:
            message = self._take()
            if message is not None:
                return message
            if self.receiver.is_exhausted:
                return None
            await self.bell.wait()

    def _take(self) -> Message | None:
        """In one of the two ways, then in the other."""
        self.picks = not self.picks
        if not self.picks:
            return self.receiver.take()
        message = self.receiver.pick()
        self.receiver.picked()
        return message

    async def receive_all(self) -> list[int]:
        """The numbers of all data up to the end of the stream."""
        numbers = []
        while (message := await self.receive()) is not None:
            numbers.append(message.seq)
        return numbers

    async def wait_dropped(self, count: int) -> None:
        """Return when `count` data have been dropped, on both sides together; nothing is served."""
        while sum(self.counts().dropped.values()) < count:
            await self.bell.wait()

    def counts(self) -> EdgeCounts:
        sent, received = self.sender.statistics(), self.receiver.statistics()
        assert sent.offered_count == sent.transmitted_count + sent.held_count + sum(sent.dropped.values())
        assert received.received_count == (
            received.delivered_count + received.held_count + sum(received.dropped.values())
        )
        return EdgeCounts(
            offered=sent.offered_count,
            sender_dropped=sent.dropped,
            lost_told=0,
            taken=received.delivered_count,
            receiver_dropped=received.dropped,
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Both ends at work."""
        async with self.sending(), self.receiving():
            yield

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """The receiver at work."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.receiver.run)
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """The sender at work; the receiver's process is busy with something else."""
        with trio.fail_after(HANG_LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sender.run)
                yield
                nursery.cancel_scope.cancel()

    async def agree(self) -> None:
        """While sending: let the receiver work until both ends have agreed, and then no longer."""
        async with self.receiving():
            await self.sender.wait_open()


Connect = Callable[..., Edge]


def datum(seq: int, **tensors: Any) -> Message:
    return Message(tensors or {"array": np.full(3, seq)}, "a", seq)


class Sockets:
    """Makes the ends of links over sockets, real ones or in memory, and closes them after the test."""

    def __init__(self, real: ZmqContext, folder: Path, closing: ExitStack) -> None:
        self._real = real
        self._direct = DirectContext(real, folder)
        self._memory = MemoryNetwork(TrioClock())
        self._closing = closing

    def _context(self, endpoint: str) -> SocketContext:
        if endpoint.endswith(DIRECT):
            return self._direct
        return self._memory if endpoint.startswith("memory://") else self._real

    def sender(self, endpoint: str, terms: EdgeTerms = TERMS) -> SocketSender:
        sender = SocketSender(self._context(endpoint), endpoint, terms)
        self._closing.callback(sender.close)
        return sender

    def receiver(self, endpoint: str, terms: EdgeTerms = TERMS, bell: Bell | None = None) -> SocketReceiver:
        receiver = SocketReceiver(self._context(endpoint), endpoint, terms, bell or Bell())
        self._closing.callback(receiver.close)
        return receiver

    def connected(self, endpoint: str) -> Socket:
        """Somebody who knows the endpoint, and of no rings."""
        dealer = (self._real if endpoint.endswith(DIRECT) else self._context(endpoint)).dealer()
        self._closing.callback(dealer.close)
        dealer.connect(endpoint)
        return dealer

    def bound(self, endpoint: str) -> tuple[Socket, str]:
        router = self._context(endpoint).router()
        self._closing.callback(router.close)
        return router, router.bind(endpoint)


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    rings = tmp_path / "rings"
    rings.mkdir()
    with ZmqContext() as context, ExitStack() as closing:
        yield Sockets(context, rings, closing)
    assert not list(rings.iterdir()), "a name that nobody needs any more"


@pytest.fixture
def endpoints(tmp_path: Path) -> dict[str, str]:
    ipc = f"ipc://{tmp_path}/e"
    return {"ipc": ipc, "tcp": "tcp://127.0.0.1:*", "memory": "memory://*", "direct": ipc + DIRECT}


@pytest.fixture(params=["local", "ipc", "tcp", "memory", "direct"])
def connect(request: pytest.FixtureRequest, sockets: Sockets, endpoints: dict[str, str]) -> Connect:
    """Makes an edge; the only place that knows which implementation it is."""
    made = 0

    def make(overflow: Overflow = Overflow.BLOCK, capacity: int = 8) -> Edge:
        nonlocal made
        made += 1
        terms, bell = replace(TERMS, overflow=overflow, capacity=capacity), Bell()
        if request.param == "local":
            link = LocalLink(terms, bell)
            return Edge(LocalSender(link), LocalReceiver(link), bell)
        endpoint = endpoints[request.param]
        if endpoint.startswith("ipc"):
            endpoint = endpoint.replace("/e", f"/e{made}")
        receiver = sockets.receiver(endpoint, terms, bell)
        return Edge(sockets.sender(receiver.endpoint, terms), receiver, bell)

    return make


# --------------------------------------------------------------------------------------- nothing lost, in order


async def test_a_blocking_edge_loses_nothing_and_keeps_order_with_a_slow_reader(connect: Connect) -> None:
    edge = connect()
    refusals = 0

    async def write() -> None:
        nonlocal refusals
        for seq in range(200):
            refusals += await edge.send(datum(seq))
        edge.sender.end()

    read = []
    async with edge.working(), trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while (message := await edge.receive()) is not None:
            read.append(message.seq)
            for _ in range(3):
                await trio.lowlevel.checkpoint()
    assert read == list(range(200))
    assert refusals > 10


async def test_a_blocking_edge_never_refuses_a_reader_that_keeps_up(connect: Connect) -> None:
    edge = connect(capacity=1)
    async with edge.working():
        for seq in range(200):
            await edge.sender.wait_for_room()
            assert edge.sender.offer(datum(seq))
            message = await edge.receive()
            assert message is not None
            assert message.seq == seq


async def test_a_full_blocking_edge_refuses_until_there_is_room(connect: Connect) -> None:
    edge = connect(capacity=4)
    accepted = [edge.sender.offer(datum(seq)) for seq in range(6)]
    assert accepted == [True] * 4 + [False] * 2
    assert edge.counts().offered == 4, "what was refused stays with its sender and is not counted"
    async with edge.working(), trio.open_nursery() as nursery:
        nursery.start_soon(edge.send, datum(4))
        read = [message.seq for _ in range(5) if (message := await edge.receive())]
    assert read == [0, 1, 2, 3, 4]


# -------------------------------------------------------------------------------------------------- watermarks


async def test_a_promise_travels_without_data(connect: Connect) -> None:
    edge = connect()
    async with edge.working():
        assert edge.receiver.watermark_ns < 0
        edge.sender.advance(1_000)
        while edge.receiver.watermark_ns < 1_000:
            await edge.bell.wait()
        edge.sender.advance(500)
        edge.sender.advance(2_000)
        while edge.receiver.watermark_ns < 2_000:
            await edge.bell.wait()
            assert edge.receiver.watermark_ns >= 1_000


async def test_a_promise_overtakes_no_datum_that_was_sent_before_it(connect: Connect) -> None:
    edge = connect(capacity=2)
    edge.sender.offer(datum(0))
    edge.sender.offer(datum(1))
    edge.sender.advance(1_000)
    async with edge.working():
        for seq in range(2):
            assert edge.receiver.watermark_ns < 0
            message = await edge.receive()
            assert message is not None
            assert message.seq == seq
        while edge.receiver.watermark_ns < 1_000:
            await edge.bell.wait()


# ---------------------------------------------------------------------------------------------------- policies

POLICIES = pytest.mark.parametrize(
    ("overflow", "served"),
    [
        (Overflow.DROP_OLDEST, [6, 7, 8, 9]),
        (Overflow.DROP_NEWEST, [0, 1, 2, 3]),
        (Overflow.LATEST, [9]),
    ],
)


@POLICIES
async def test_a_reader_that_came_late_finds_what_the_policy_promises(
    connect: Connect, overflow: Overflow, served: list[int]
) -> None:
    edge = connect(overflow, 4)
    assert all(edge.sender.offer(datum(seq)) for seq in range(10))
    edge.sender.end()
    async with edge.working():
        assert await edge.receive_all() == served
    assert edge.counts().dropped == {overflow.value: 10 - len(served)}


@POLICIES
async def test_a_reader_that_was_busy_finds_what_the_policy_promises(
    connect: Connect, overflow: Overflow, served: list[int]
) -> None:
    edge = connect(overflow, 4)
    async with edge.sending():
        await edge.agree()
        assert all(edge.sender.offer(datum(seq)) for seq in range(10))
        edge.sender.end()
        async with edge.receiving():
            await edge.wait_dropped(10 - len(served))
            assert await edge.receive_all() == served
    assert edge.counts().dropped == {overflow.value: 10 - len(served)}


async def test_a_slow_receiver_of_a_fan_out_never_holds_back_a_fast_one(connect: Connect) -> None:
    fast, slow = connect(Overflow.BLOCK, 4), connect(Overflow.DROP_OLDEST, 4)

    async def write() -> None:
        for seq in range(200):
            message = datum(seq)
            assert slow.sender.offer(message)
            await fast.send(message)
        fast.sender.end()
        slow.sender.end()

    async with fast.working(), slow.working(), trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await fast.receive_all() == list(range(200))
        assert slow.counts().delivered == 0
        await slow.wait_dropped(196)
        assert await slow.receive_all() == [196, 197, 198, 199]


# ------------------------------------------------------------------------------------------------ end of stream


async def test_the_end_is_seen_after_the_last_datum_and_both_ends_finish(connect: Connect) -> None:
    edge = connect()
    for seq in range(5):
        assert edge.sender.offer(datum(seq))
    edge.sender.end()
    with trio.fail_after(HANG_LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(edge.sender.run)
            nursery.start_soon(edge.receiver.run)
            for seq in range(5):
                assert not edge.receiver.is_exhausted
                message = await edge.receive()
                assert message is not None
                assert message.seq == seq
            assert await edge.receive() is None
            await edge.sender.wait_closed()
            nursery.cancel_scope.cancel()
    assert edge.receiver.is_exhausted


async def test_an_empty_stream_ends_too(connect: Connect) -> None:
    edge = connect()
    edge.sender.end()
    async with edge.working():
        assert await edge.receive() is None
        await edge.sender.wait_closed()


async def test_an_offer_after_the_end_is_the_senders_own_fault(connect: Connect) -> None:
    edge = connect()
    edge.sender.end()
    with pytest.raises(ClosedLinkError, match=r"edge a\.out->b\.in: a datum after the end"):
        edge.sender.offer(datum(0))


# ------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_what_both_ends_counted_adds_up_at_every_moment(connect: Connect, overflow: Overflow) -> None:
    edge = connect(overflow, 4)
    accepted = 0
    async with edge.working():
        for seq in range(100):
            accepted += edge.sender.offer(datum(seq))
            assert broken_sums("edge", edge.counts(), ended=False) == []
            if seq % 7 == 0:
                await trio.lowlevel.checkpoint()
                edge.receiver.take()
                assert broken_sums("edge", edge.counts(), ended=False) == []
        edge.sender.end()
        await edge.receive_all()
        await edge.sender.wait_closed()
    assert edge.counts().offered == accepted
    assert broken_sums("edge", edge.counts(), ended=True) == []


# ------------------------------------------------------------------------------------------------------ arrays


def same(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())


async def test_several_tensors_arrive_with_their_names_times_and_attributes(connect: Connect) -> None:
    tensors = {
        "box": np.arange(8, dtype="float32").reshape(2, 4).T,
        "score": np.array(0.5),
        "none": np.zeros((0, 3), "int16"),
        "label": np.array(["cat", "dog"]),
    }
    edge = connect()
    edge.sender.offer(Message(tensors, "cam", 3, -5, {"frame": 12, "codec": "h264", "key": True}))
    async with edge.working():
        message = await edge.receive()
    assert message is not None
    assert (message.stream, message.seq, message.event_time_ns) == ("cam", 3, -5)
    assert message.attributes == {"frame": 12, "codec": "h264", "key": True}
    assert list(message.tensors) == list(tensors)
    assert all(same(message[name], tensors[name]) for name in tensors)


async def test_a_large_tensor_arrives(connect: Connect) -> None:
    frame = np.arange(1 << 21, dtype="float32")
    edge = connect()
    edge.sender.offer(datum(0, frame=frame))
    async with edge.working():
        message = await edge.receive()
    assert message is not None
    assert same(message["frame"], frame)


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DROP_OLDEST])
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "not yet open"])
async def test_a_sender_may_reuse_its_buffer_at_once(connect: Connect, overflow: Overflow, is_open: bool) -> None:
    edge = connect(overflow, 8)
    buffer = np.zeros(4)
    shown = np.broadcast_to(buffer, (2, 4))  # a read-only view of what is still written to
    async with edge.sending():
        if is_open:
            await edge.agree()
        for seq in range(8):  # more than may be out: the rest is held without credit
            buffer[:] = seq
            assert edge.sender.offer(datum(seq, own=buffer, view=shown))
        buffer[:] = -1
        edge.sender.end()
        async with edge.receiving():
            while (message := await edge.receive()) is not None:
                assert (message["own"] == message.seq).all()
                assert (message["view"] == message.seq).all()
                assert not message["own"].flags.writeable
                assert not message["view"].flags.writeable
    assert edge.counts().delivered == 8


async def test_what_was_received_can_be_passed_on(connect: Connect) -> None:
    first, second = connect(), connect()
    for seq in range(8):
        first.sender.offer(datum(seq))
    first.sender.end()
    async with first.working(), second.working():
        while (message := await first.receive()) is not None:
            await second.send(message)
            again = await second.receive()
            assert again is not None
            assert same(again.array, message.array)


async def test_within_a_process_what_nobody_can_change_any_more_is_passed_on_without_a_copy() -> None:
    link = LocalLink(TERMS, Bell())
    array = np.arange(3)
    array.flags.writeable = False
    link.offer(datum(0, array=array))
    message = link.take()
    assert message is not None
    assert message.array is array


# ======================================================================================= links over sockets only


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
