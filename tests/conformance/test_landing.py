"""Tensors that come from another process on the device: what has arrived is whole, whatever became of who wrote it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from streamflow.core.message import Message
from streamflow.device.contract import Device
from streamflow.device.opening import device_of
from streamflow.device.resident import DeviceTensor
from streamflow.device.shared_ring import Lent, SharedRing
from streamflow.device.shared_tensors import SharedTensors
from streamflow.errors import WireError
from streamflow.memory.segment import Segment
from streamflow.memory.shares import Owner, Shares
from streamflow.runtime.clock import TrioClock
from streamflow.runtime.process.landing import Landing
from streamflow.runtime.process.staying_lending import ON_DEVICE, StayingLending
from streamflow.transport.memory_socket import MemoryDealer, MemoryNetwork
from streamflow.wire.arrays import Form
from streamflow.wire.data import Place, decode_datum, encode_datum
from streamflow.wire.values import pack
from tests.conformance.devices import LONG_S, poisoned
from tests.conformance.ring_owners import Owner as OwnerProcess
from tests.device.ring_owner import SHAPE, SLOT_COUNT
from tests.marks import on_gpu

ENDPOINT = "memory://edge"


@pytest.fixture(params=["host", pytest.param("cuda", marks=on_gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    made = device_of("cuda:0" if request.param == "cuda" else request.param)
    made.open()
    yield made
    made.close()


class Edge:
    """One end is told what to send; the other is a landing, that works on `device`."""

    def __init__(self, device: Device, folder: Path, network: MemoryNetwork, count: int) -> None:
        self.device = device
        self.folder = folder
        self.in_vain: list[int] = []
        self.landing = Landing(network, folder, "writer.out", 0, count, self.in_vain.append)
        self.landing.bind(ENDPOINT)
        self.network = network
        self.dealer = self._connected()

    def _connected(self) -> MemoryDealer:
        dealer = self.network.dealer()
        dealer.connect(ENDPOINT)
        return dealer

    def owner(self, life: int = 0, device: str = "") -> OwnerProcess:
        owner = OwnerProcess(self.device, self.folder, life)
        (self.folder / "writer.out.0.ring").write_bytes(pack([device or self.device.name, owner.hello]))
        return owner

    def send(self, lent: Lent) -> None:
        place = Place(ON_DEVICE, 0, lent.slot, lent.generation, lent.life)
        message = Message({"out": np.zeros(SHAPE, "float32")}, "writer", 0, 0)
        self.dealer.send(encode_datum(0, message, lambda array: place))

    def send_on_host(self, number: int) -> None:
        message = Message({"out": np.full(4, number, "float32")}, "writer", 0, 0)
        self.dealer.send(encode_datum(0, message))

    async def received(self) -> Any:
        """The next tensor, when it has landed."""
        with trio.fail_after(LONG_S):
            while (frames := self.landing.receive()) is None:
                await self.landing.wait_arrival()
        return decode_datum(frames[1:], 0, self.landing.landed)[1].tensors["out"]

    async def value(self) -> float:
        """Of the next tensor, which is the same all over."""
        tensor = await self.received()
        if type(tensor) is DeviceTensor:
            queue, found = self.device.queue(), poisoned(self.device, *SHAPE)
            queue.copy_out(found, tensor.on(queue))
            with trio.fail_after(LONG_S):
                await queue.ticket().wait()
            queue.close()
            tensor = found
        assert (tensor == tensor.flat[0]).all()
        return float(tensor.flat[0])

    async def nothing_lands(self) -> bool:
        """Also not when all that was begun is over."""
        with trio.move_on_after(0.1):
            while self.landing.receive() is None:
                await self.landing.wait_arrival()
            return False
        return True

    def forget_sender(self) -> None:
        """This end hears of its death; the next life connects."""
        peers = self.network.bound[ENDPOINT].peers
        self.landing.forget(next(name for name, dealer in peers.items() if dealer is self.dealer))
        self.dealer = self._connected()


@pytest.fixture
def joined(device: Device, tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def make(count: int = 4) -> AsyncIterator[Edge]:
        with MemoryNetwork(TrioClock()) as network:
            edge = Edge(device, tmp_path, network, count)
            async with trio.open_nursery() as nursery:
                await nursery.start(edge.landing.run)
                yield edge
                nursery.cancel_scope.cancel()
            edge.landing.close()

    return make


async def test_what_lands_is_whole_in_order_and_its_slot_is_free_again(joined) -> None:
    async with joined() as edge:
        owner = edge.owner()
        edge.landing.begin(edge.device, 0)
        assert owner.asked("opened") == "1"
        for number in range(3 * SLOT_COUNT):
            edge.send(owner.lend("slowly" if number == 4 else "write", number))
            edge.send_on_host(-number)
            assert await edge.value() == number
            assert await edge.value() == -number
        assert owner.asked("lent") == "0"
        owner.end()


async def test_where_none_of_its_own_is_free_it_comes_on_the_host_and_is_counted(joined) -> None:
    async with joined(count=1) as edge:
        owner = edge.owner()
        edge.landing.begin(edge.device, 0)
        edge.send(owner.lend("write", 1))
        edge.send(owner.lend("write", 2))
        held = await edge.received()
        assert type(held) is DeviceTensor
        assert (await edge.received() == 2).all()
        assert edge.in_vain == [1]
        owner.end()


async def test_what_had_not_landed_when_its_owner_died_never_arrives_nor_what_follows(joined) -> None:
    async with joined() as edge:
        owner = edge.owner()
        edge.landing.begin(edge.device, 0)
        edge.send(owner.lend("write", 1))
        assert await edge.value() == 1
        lent = owner.lend("slowly", 2)
        edge.send(lent)
        edge.send_on_host(3)
        assert edge.landing.receive() is None
        owner.kill()
        assert await edge.nothing_lands()
        edge.forget_sender()
        edge.send_on_host(4)
        assert await edge.value() == 4


@pytest.mark.parametrize("has_sent", [True, False])
async def test_the_next_life_of_its_owner_is_opened_when_its_first_datum_comes(joined, has_sent: bool) -> None:
    async with joined() as edge:
        was = edge.owner()
        edge.landing.begin(edge.device, 0)
        if has_sent:
            edge.send(was.lend("write", 1))
            assert await edge.value() == 1
        was.kill()
        edge.forget_sender()
        owner = edge.owner(life=1)
        assert owner.asked("opened") == "0"
        await trio.sleep(0.1)  # it looks no more often
        edge.send_on_host(2)
        assert await edge.value() == 2
        assert owner.asked("opened") == "1"
        edge.send(owner.lend("write", 3))
        assert await edge.value() == 3
        owner.end()


async def test_what_is_withdrawn_before_it_has_landed_never_arrives(joined) -> None:
    async with joined() as edge:
        owner = edge.owner()
        edge.landing.begin(edge.device, 0)
        edge.send(owner.lend("slowly", 1))
        assert edge.landing.receive() is None
        owner.tell("withdraw")
        assert owner.asked("opened") == "1"  # by now it is withdrawn
        edge.send(owner.lend("write", 2))
        assert await edge.nothing_lands()
        owner.kill()


async def test_what_was_withdrawn_before_it_came_never_arrives(joined) -> None:
    async with joined() as edge:
        owner = edge.owner()
        edge.landing.begin(edge.device, 0)
        lent = owner.lend("write", 1)
        owner.tell("withdraw")
        assert owner.asked("opened") == "1"
        edge.send(lent)
        assert await edge.nothing_lands()
        owner.kill()


async def test_who_works_on_another_device_does_not_open_it(joined) -> None:
    async with joined() as edge:
        owner = edge.owner(device="cuda:7")
        edge.landing.begin(edge.device, 0)
        assert owner.asked("opened") == "0"
        lent = owner.lend("write", 1)
        edge.send(lent)
        with pytest.raises(WireError, match="a tensor on a device"):
            await edge.received()
        owner.end()


# ------------------------------------------------------------------------------------- the other end


@pytest.fixture
def tensors(device: Device, tmp_path: Path) -> SharedTensors:
    ring = SharedRing(device, tmp_path, "out.0", 0, SHAPE, "float32", SLOT_COUNT, edge_count=2)
    return SharedTensors(ring, device, tmp_path, "out.0", [].append)


def opens(tmp_path: Path, *edges: int) -> Segment:
    """Say so for the readers of these edges."""
    (table,) = tmp_path.glob("*.slots")
    segment = Segment(table, is_owner=False)
    for edge in edges:
        segment.settle(SLOT_COUNT, edge, 0)
    return segment


def test_none_is_given_until_all_who_get_them_have_opened_them_nor_when_one_of_them_has_died(tensors, tmp_path) -> None:
    assert tensors.take() is None
    opens(tmp_path, 0)
    assert tensors.take() is None
    opens(tmp_path, 1)
    assert tensors.take() is not None
    tensors.forget(1)
    assert tensors.take() is None
    opens(tmp_path, 1)
    assert tensors.take() is not None
    tensors.close()
    assert tensors.take() is None
    assert not list(tmp_path.glob("*.ring"))


def test_one_is_used_again_when_nobody_here_or_elsewhere_has_it(tensors, tmp_path) -> None:
    segment = opens(tmp_path, 0, 1)
    taken = tensors.take_all(SLOT_COUNT)
    lent = [tensors.lend(tensor, 0) for tensor in taken]
    assert tensors.lend(DeviceTensor(tensors.device, taken[0].array, taken[0].ready), 0) is None
    del taken[1:]
    assert tensors.take() is None  # two are lent, one is here too
    segment.give_back(lent[0].slot, 0)
    segment.give_back(lent[1].slot, 0)
    again = tensors.take()
    assert again is not None
    assert tensors.lend(again, 1) == (0, lent[1].slot, lent[1].generation + 1)
    assert tensors.take() is None


def test_what_finds_no_reader_on_the_device_any_more_is_lent_on_the_host_and_counted(device, tensors, tmp_path) -> None:
    owners = [Owner("writer", {"near": 0, "far": 1})]
    shares, readers = Shares(tmp_path, owners), Shares(tmp_path, owners)
    copied: list[int] = []
    lending = StayingLending(shares, "far", 1, shares.pool("writer"), [tensors], copied.append)
    opens(tmp_path, 0, 1)
    tensor, queue = tensors.take(), device.queue()
    queue.copy_in(tensor.array, np.full(SHAPE, 5, "float32"))
    queue.record(tensor.ready)
    assert lending.lend(tensor)[:3] == (ON_DEVICE, 0, 0)
    lending.forget()
    place = lending.lend(tensor)
    found = readers.borrow(place, Form(np.dtype("float32"), SHAPE, tensor.nbytes), "far", lambda _: None)
    assert (found == 5).all()
    assert copied == [1]
    queue.close()
    del found
    readers.close()
    shares.close()
