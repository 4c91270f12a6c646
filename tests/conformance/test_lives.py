"""What a link between processes keeps of its promises when one of them dies and comes back.

A death is a socket that is closed while the other end works on; one body for real sockets and those in memory.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from streamflow import Message, Overflow
from streamflow.core.trace import ReceiverTrace, SenderTrace
from streamflow.runtime.clock import TrioClock
from streamflow.transport.direct_socket import DirectContext
from streamflow.transport.link import Bell
from streamflow.transport.memory_socket import MemoryNetwork
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.transport.sockets import DealerSocket, SocketContext
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.packets import PROTOCOL_VERSION, Data, Hello, Packet, Refuse, Welcome, decode, encode
from streamflow.wire.session import EdgeTerms

TERMS = EdgeTerms("a.out->b.in", "5eed", Overflow.BLOCK, capacity=4, generation=1)
HANG_LIMIT_S = 10


def datum(seq: int) -> Message:
    return Message({"array": np.full(3, seq)}, "a", seq)


class Fates(SenderTrace[Message]):
    """Which data the sender gave up, and why."""

    def __init__(self) -> None:
        self.lost_data: list[int] = []
        self.dropped_data: list[int] = []

    def lost(self, item: Message, slot: int | None) -> None:
        self.lost_data.append(item.seq)

    def dropped(self, item: Message, slot: int | None) -> None:
        self.dropped_data.append(item.seq)


class Removed(ReceiverTrace[Message]):
    """The numbers that left the mailbox, as a recorder keeps them for whoever comes after."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    def taken(self, item: Message, number: int, depth: int) -> None:
        self.numbers.add(number)


class Edge:
    """Makes one life of either end after another."""

    def __init__(self, context: SocketContext, pattern: str, closing: ExitStack) -> None:
        self._context = context
        self._pattern = pattern
        self._closing = closing
        self._count = 0
        self.terms = TERMS
        self.fates = Fates()
        self.removed = Removed()
        self.bell = Bell()

    def receiver(self, generation: int = 1) -> SocketReceiver:
        self._count += 1
        terms = replace(self.terms, generation=generation)
        self.removed = Removed()
        receiver = SocketReceiver(self._context, self._pattern.format(self._count), terms, self.bell, self.removed)
        self._closing.callback(receiver.close)
        return receiver

    def sender(self, endpoint: str, generation: int = 1) -> SocketSender:
        sender = SocketSender(self._context, endpoint, replace(self.terms, generation=generation), self.fates)
        self._closing.callback(sender.close)
        return sender

    def dealer(self, endpoint: str, generation: int) -> DealerSocket:
        """A sender of that life by hand: it has greeted."""
        dealer = self._context.dealer()
        self._closing.callback(dealer.close)
        dealer.connect(endpoint)
        dealer.send(encode(Hello(PROTOCOL_VERSION, TERMS.edge, TERMS.schema, generation)))
        return dealer

    async def receive(self, receiver: SocketReceiver, count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            message = receiver.take()
            if message is None:
                await self.bell.wait()
            else:
                found.append(message.seq)
        return found

    async def receive_all(self, receiver: SocketReceiver) -> list[int]:
        found: list[int] = []
        while not receiver.is_exhausted:
            message = receiver.take()
            if message is not None:
                found.append(message.seq)
            elif not receiver.is_exhausted:
                await self.bell.wait()
        return found


async def hear(dealer: DealerSocket) -> Packet:
    while (frames := dealer.receive()) is None:
        await dealer.wait_arrival()
    return decode(frames)


async def arrived(receiver: SocketReceiver, count: int) -> None:
    while receiver.statistics().received_count < count:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def working(
    *ends: SocketSender | SocketReceiver,
) -> AsyncIterator[Callable[[SocketSender | SocketReceiver], None]]:
    """Works these ends, and those that the body adds."""
    with trio.fail_after(HANG_LIMIT_S):
        async with trio.open_nursery() as nursery:

            def add(end: SocketSender | SocketReceiver) -> None:
                nursery.start_soon(end.run)

            for end in ends:
                add(end)
            yield add
            nursery.cancel_scope.cancel()


@pytest.fixture(params=["memory", "ipc", "tcp", "direct"])
def edge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Edge]:
    ipc = f"ipc://{tmp_path}/{{}}"
    patterns = {"memory": "memory://*", "ipc": ipc, "tcp": "tcp://127.0.0.1:*", "direct": ipc}
    with ExitStack() as contexts, ExitStack() as closing:
        context: SocketContext
        if request.param == "memory":
            context = contexts.enter_context(MemoryNetwork(TrioClock()))
        else:
            context = zmq = contexts.enter_context(ZmqContext())
            if request.param == "direct":
                context = DirectContext(zmq, tmp_path)
        yield Edge(context, patterns[request.param], closing)


# -------------------------------------------------------------------------------------- the receiver's next life


async def test_what_was_out_and_not_removed_is_lost_and_what_is_held_goes_to_the_next_life(edge: Edge) -> None:
    first = edge.receiver()
    sender = edge.sender(first.endpoint)
    async with working(sender) as add:
        async with working(first):
            await sender.wait_open()
            for seq in range(4):
                assert sender.offer(datum(seq))
            assert not sender.offer(datum(4)), "all it may have is out"
            assert await edge.receive(first, 1) == [0]
            await arrived(first, 4)
        first.close()
        sender.detach(edge.removed.numbers)
        assert edge.fates.lost_data == [1, 2, 3]
        assert sender.offer(datum(4))
        assert sender.offer(datum(5))
        second = edge.receiver(2)
        add(second)
        sender.attach(second.endpoint, 2)
        sender.end()
        assert await edge.receive_all(second) == [4, 5]
        await sender.wait_closed()
    assert edge.fates.lost_data == [1, 2, 3]
    assert sender.statistics().offered_count == 6


async def test_while_there_is_no_receiver_data_wait_by_the_policy(edge: Edge) -> None:
    edge.terms = replace(TERMS, overflow=Overflow.DROP_OLDEST, capacity=2)
    first = edge.receiver()
    sender = edge.sender(first.endpoint)
    async with working(sender) as add:
        async with working(first):
            await sender.wait_open()
        first.close()
        sender.detach(frozenset())
        for seq in range(5):
            assert sender.offer(datum(seq))
        assert edge.fates.dropped_data == [0, 1, 2]
        second = edge.receiver(2)
        add(second)
        sender.attach(second.endpoint, 2)
        sender.end()
        assert await edge.receive_all(second) == [3, 4]


async def test_a_sender_that_waits_for_room_goes_on_when_what_was_out_is_lost(edge: Edge) -> None:
    first = edge.receiver()
    sender = edge.sender(first.endpoint)
    async with working(sender), working(first):
        await sender.wait_open()
        for seq in range(4):
            sender.offer(datum(seq))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.wait_for_room)
            await trio.testing.wait_all_tasks_blocked()
            sender.detach(frozenset())
        assert sender.offer(datum(4))


async def test_a_receiver_that_comes_and_dies_before_anybody_had_a_turn_changes_nothing(edge: Edge) -> None:
    first, second, third = edge.receiver(), edge.receiver(2), edge.receiver(3)
    sender = edge.sender(first.endpoint)
    async with working(sender, first) as add:
        await sender.wait_open()
        sender.detach(frozenset())
        await trio.testing.wait_all_tasks_blocked()
        sender.attach(second.endpoint, 2)
        sender.detach(frozenset())
        await trio.testing.wait_all_tasks_blocked()
        sender.attach(third.endpoint, 3)
        add(third)
        sender.offer(datum(0))
        assert await edge.receive(third, 1) == [0]


async def test_a_sender_without_a_receiver_begins_when_there_is_one(edge: Edge) -> None:
    sender = edge.sender("")
    sender.offer(datum(0))
    receiver = edge.receiver(2)
    async with working(sender, receiver):
        await trio.testing.wait_all_tasks_blocked()
        sender.attach(receiver.endpoint, 2)
        assert await edge.receive(receiver, 1) == [0]


async def test_without_a_receiver_for_good_everything_is_lost_and_nobody_waits(edge: Edge) -> None:
    first = edge.receiver()
    sender = edge.sender(first.endpoint)
    async with working(sender), working(first):
        await sender.wait_open()
        for seq in range(4):
            sender.offer(datum(seq))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.wait_for_room)
            await trio.testing.wait_all_tasks_blocked()
            sender.detach({0})
            sender.abandon()
        for seq in range(4, 20):
            assert sender.offer(datum(seq))
        sender.end()
        await sender.wait_closed()
    assert edge.fates.lost_data == list(range(1, 20))
    assert sender.statistics().held_count == 0


async def test_who_never_had_a_receiver_and_never_will_has_agreed_and_ended(edge: Edge) -> None:
    sender = edge.sender("")
    async with working(sender):
        sender.abandon()
        await sender.wait_open()
        await sender.wait_closed()


# ---------------------------------------------------------------------------------------- the sender's next life


async def test_what_a_dead_sender_had_sent_is_served_before_what_its_next_life_sends(edge: Edge) -> None:
    receiver = edge.receiver()
    first = edge.sender(receiver.endpoint)
    async with working(receiver) as add:
        async with working(first):
            await first.wait_open()
            for seq in range(3):
                first.offer(datum(seq))
            await arrived(receiver, 3)
        first.close()
        second = edge.sender(receiver.endpoint, 2)
        add(second)
        second.offer(datum(10))
        await trio.sleep(0.02)  # its hello has come, before anybody told the receiver of it
        assert receiver.expect(2) == 3
        second.end()
        assert await edge.receive_all(receiver) == [0, 1, 2, 10]
        await second.wait_closed()
    assert receiver.stranger_count == 0


async def test_a_life_that_greets_after_it_is_expected_is_welcome(edge: Edge) -> None:
    receiver = edge.receiver()
    async with working(receiver) as add:
        assert receiver.expect(2) == 0
        sender = edge.sender(receiver.endpoint, 2)
        add(sender)
        sender.offer(datum(0))
        assert await edge.receive(receiver, 1) == [0]


async def test_of_lives_that_greeted_early_the_expected_one_is_welcomed_and_none_is_a_stranger(edge: Edge) -> None:
    receiver = edge.receiver()
    async with working(receiver):
        lives = {generation: edge.dealer(receiver.endpoint, generation) for generation in (2, 3)}
        await trio.sleep(0.02)
        assert receiver.expect(3) == 0
        assert await hear(lives[3]) == Welcome(4)
    assert receiver.stranger_count == 0


async def test_what_comes_too_late_from_a_life_that_is_over_is_let_go(edge: Edge) -> None:
    receiver = edge.receiver()
    async with working(receiver):
        dealer = edge.dealer(receiver.endpoint, 1)
        assert await hear(dealer) == Welcome(4)
        dealer.send(encode(Data(0, datum(0))))
        await arrived(receiver, 1)
        assert receiver.expect(2) == 1
        dealer.send(encode(Data(1, datum(1))))
        dealer.send([b"half a packet"])
        successor = edge.dealer(receiver.endpoint, 2)
        assert await hear(successor) == Welcome(3)  # one still waits there
        assert await edge.receive(receiver, 1) == [0]
        assert receiver.take() is None
    assert receiver.stranger_count == 0
    assert receiver.statistics().received_count == 1


async def test_more_early_lives_than_can_be_are_strangers(edge: Edge) -> None:
    receiver = edge.receiver()
    async with working(receiver):
        dealers = [edge.dealer(receiver.endpoint, 2) for _ in range(5)]
        heard: list[Packet] = []
        async with trio.open_nursery() as nursery:

            async def listen(dealer: DealerSocket) -> None:
                heard.append(await hear(dealer))
                nursery.cancel_scope.cancel()

            for dealer in dealers:
                nursery.start_soon(listen, dealer)
        assert heard == [Refuse("generation 2, expected 1")]
    assert receiver.stranger_count == 1


async def test_an_actor_that_works_the_link_itself_sees_what_was_read_when_its_sender_died(edge: Edge) -> None:
    """The word of the death can be heard before the actor hears of the data: reading them takes away their signal."""
    receiver = edge.receiver()
    sender = edge.sender(receiver.endpoint)
    taken: list[int] = []
    async with working(sender, receiver):
        await sender.wait_open()
        await receiver.take_over()
        async with trio.open_nursery() as nursery:

            async def act() -> None:
                while (message := receiver.take()) is None:
                    await receiver.wait()
                taken.append(message.seq)

            nursery.start_soon(act)
            await trio.testing.wait_all_tasks_blocked()
            sender.offer(datum(0))
            while not receiver._socket.has_arrival():
                time.sleep(0.001)  # noqa: ASYNC251 - no other task may have its turn
            assert receiver.expect(2) == 1
    assert taken == [0]


@pytest.mark.parametrize("is_taken_over", [False, True])
async def test_without_a_sender_for_good_the_stream_ends_with_what_has_arrived(edge: Edge, is_taken_over: bool) -> None:
    receiver = edge.receiver()
    sender = edge.sender(receiver.endpoint)
    taken: list[int] = []
    async with working(sender, receiver):
        await sender.wait_open()
        sender.offer(datum(0))
        if is_taken_over:
            await receiver.take_over()
        async with trio.open_nursery() as nursery:

            async def act() -> None:
                while not receiver.is_exhausted:
                    if (message := receiver.take()) is not None:
                        taken.append(message.seq)
                    elif not receiver.is_exhausted:
                        await (receiver.wait() if is_taken_over else edge.bell.wait())

            await arrived_by_hand(receiver, 1)
            nursery.start_soon(act)
            await trio.testing.wait_all_tasks_blocked()
            sender.close()
            assert receiver.abandon() == 1
    assert taken == [0]


async def arrived_by_hand(receiver: SocketReceiver, count: int) -> None:
    """Also where nobody but the caller reads."""
    while receiver.statistics().received_count < count:
        receiver.peek()
        await trio.lowlevel.checkpoint()


def test_what_a_killed_sender_left_before_it_was_heard_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = "4194304"  # more than a process id can be
    left = tmp_path / f"{dead}-0.forth.ring"
    left.touch()
    with ZmqContext() as context:
        direct = DirectContext(context, tmp_path)
        router, dealer = direct.router(), direct.dealer()
        dealer.connect(router.bind(f"ipc://{tmp_path}/e"))
        assert not left.exists()
        assert len(list(tmp_path.glob("*.ring"))) == 4, "its own, which the other end has not opened yet"
        dealer.close()
        router.close()
    assert not list(tmp_path.glob("*.ring"))
