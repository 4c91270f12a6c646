"""What every link promises, whichever way its data travel.

One body for all implementations, on the real clock, both ends in one process: the local link, and the one over
sockets with each kind of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

from streamflow import Message, Overflow
from streamflow.core.accounting import broken_sums
from streamflow.errors import ClosedLinkError
from streamflow.transport.link import Bell
from streamflow.transport.local_link import LocalLink
from tests.conformance.edges import HANG_LIMIT_S, TERMS, Connect, datum

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
