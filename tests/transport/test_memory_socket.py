"""Sockets in process: what they have in common with ZeroMQ's, and delays in virtual time, to the nanosecond."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.timebase import ms
from streamflow.errors import ClosedLinkError, LinkError
from streamflow.runtime.clock import VIRTUAL_START_NS, TrioClock
from streamflow.runtime.process.control import ControlClient, ControlServer
from streamflow.transport.memory_socket import MemoryNetwork, MemoryRouter, Plan
from streamflow.transport.sockets import DealerSocket, RouterSocket, Socket, SocketContext
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.values import Frame

HANG_LIMIT_S = 10  # a promise that is not kept shows as a failure, not as a test that never ends


async def hear(socket: Socket) -> list[bytes]:
    with trio.fail_after(HANG_LIMIT_S):
        while (frames := socket.receive()) is None:
            await socket.wait_arrival()
    return [bytes(frame) for frame in frames]


# ------------------------------------------------------------------------------------ as with ZeroMQ: same tests


class Closing:
    """Sockets that are closed after the test."""

    def __init__(self, context: SocketContext, closing: ExitStack) -> None:
        self._context = context
        self._closing = closing
        self.is_real = isinstance(context, ZmqContext)
        self.now_ns = context.now_ns

    def dealer(self) -> DealerSocket:
        dealer = self._context.dealer()
        self._closing.callback(dealer.close)
        return dealer

    def router(self) -> RouterSocket:
        router = self._context.router()
        self._closing.callback(router.close)
        return router


@pytest.fixture(params=["memory", "ipc"])
def context(request: pytest.FixtureRequest) -> Iterator[Closing]:
    made = MemoryNetwork(TrioClock()) if request.param == "memory" else ZmqContext()
    with made, ExitStack() as closing:
        yield Closing(made, closing)


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/e"


async def test_a_conversation_goes_both_ways_and_the_router_knows_its_peers(context: Closing, endpoint: str) -> None:
    router, first, second = context.router(), context.dealer(), context.dealer()
    assert router.bind(endpoint) == endpoint
    first.connect(endpoint)
    second.connect(endpoint)
    first.send([b"one"])
    name, said = await hear(router)
    assert said == b"one"
    second.send([b"two", b"", b"3"])
    other, *said_too = await hear(router)
    assert said_too == [b"two", b"", b"3"]
    assert other != name
    router.send([name, b"to the first"])
    router.send([other, b"to the second"])
    assert await hear(first) == [b"to the first"]
    assert await hear(second) == [b"to the second"]
    assert first.receive() is None


async def test_what_was_sent_before_anybody_is_bound_arrives_in_order(context: Closing, endpoint: str) -> None:
    dealer = context.dealer()
    dealer.connect(endpoint)
    for number in range(20):
        dealer.send([bytes([number])])
    router = context.router()
    router.bind(endpoint)
    assert [(await hear(router))[1] for _ in range(20)] == [bytes([number]) for number in range(20)]


async def test_the_form_of_frames_is_the_same(context: Closing, endpoint: str) -> None:
    router, dealer = context.router(), context.dealer()
    router.bind(endpoint)
    dealer.connect(endpoint)
    dealer.send([b"header", memoryview(b"tensor"), b"another"])
    with trio.fail_after(HANG_LIMIT_S):
        while (frames := router.receive()) is None:
            await router.wait_arrival()
    assert [type(frame) for frame in frames] == [bytes, bytes, memoryview, memoryview]


async def test_what_was_sent_is_what_it_was_when_it_was_sent(context: Closing, endpoint: str) -> None:
    router, dealer = context.router(), context.dealer()
    router.bind(endpoint)
    dealer.connect(endpoint)
    buffer = bytearray(b"before")
    dealer.send([b"header", memoryview(buffer)])
    buffer[:] = b"behind"
    assert (await hear(router))[2] == b"before"


async def test_what_has_arrived_stays_readable_when_its_sender_closes(context: Closing, endpoint: str) -> None:
    router, dealer = context.router(), context.dealer()
    router.bind(endpoint)
    dealer.connect(endpoint)
    dealer.send([b"hello"])
    name, _ = await hear(router)
    dealer.send([b"last words"])
    with trio.fail_after(HANG_LIMIT_S):
        await router.wait_arrival()
    dealer.close()
    assert await hear(router) == [name, b"last words"]


async def test_what_is_sent_to_a_peer_that_has_gone_or_never_was_is_dropped(context: Closing, endpoint: str) -> None:
    router, dealer, other = context.router(), context.dealer(), context.dealer()
    router.bind(endpoint)
    dealer.connect(endpoint)
    dealer.send([b"hello"])
    name, _ = await hear(router)
    dealer.close()
    router.send([name, b"to nobody"])
    router.send([b"no name", b"to nobody"])
    other.connect(endpoint)
    other.send([b"hello"])
    name, _ = await hear(router)
    router.send([name, b"to somebody"])
    assert await hear(other) == [b"to somebody"]


async def test_a_dealer_goes_on_with_whoever_binds_next_who_knows_it_by_another_name(
    context: Closing, endpoint: str
) -> None:
    router, dealer = context.router(), context.dealer()
    router.bind(endpoint)
    dealer.connect(endpoint)
    dealer.send([b"hello"])
    name, _ = await hear(router)
    router.send([name, b"goodbye"])
    with trio.fail_after(HANG_LIMIT_S):
        await dealer.wait_arrival()
    router.close()
    assert await hear(dealer) == [b"goodbye"]
    await trio.sleep(0.1 if context.is_real else 0)  # ZeroMQ notices the loss in its own thread
    dealer.send([b"is anybody there"])
    assert dealer.receive() is None
    successor = context.router()
    successor.bind(endpoint)
    new_name, said = await hear(successor)
    assert said == b"is anybody there"
    assert new_name != name
    successor.send([name, b"to the old name"])
    successor.send([new_name, b"to the new one"])
    assert await hear(dealer) == [b"to the new one"]


async def test_a_wake_before_the_wait_is_not_lost_and_counts_once(context: Closing, endpoint: str) -> None:
    router = context.router()
    router.bind(endpoint)
    router.wake()
    with trio.fail_after(HANG_LIMIT_S):
        await router.wait_arrival()
    with trio.move_on_after(0.01) as scope:
        await router.wait_arrival()
    assert scope.cancelled_caught


async def test_a_waiting_task_is_woken_by_an_arrival_a_wake_and_a_close(context: Closing, endpoint: str) -> None:
    router, dealer = context.router(), context.dealer()
    router.bind(endpoint)
    dealer.connect(endpoint)
    wakes: list[Callable[[], None]] = [lambda: dealer.send([b"x"]), router.wake, router.close]
    for wake in wakes:
        with trio.fail_after(HANG_LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(router.wait_arrival)
                await trio.testing.wait_all_tasks_blocked()
                wake()
        if wake != router.close:
            router.receive()


async def test_waiting_is_cancelled_like_any_other(context: Closing, endpoint: str) -> None:
    router, dealer = context.router(), context.dealer()
    router.bind(endpoint)
    with trio.move_on_after(0.01) as scope:
        await router.wait_arrival()
    assert scope.cancelled_caught
    dealer.connect(endpoint)
    dealer.send([b"after"])
    assert (await hear(router))[1] == b"after"


async def test_a_closed_socket_sends_nothing(context: Closing) -> None:
    dealer = context.dealer()
    dealer.close()
    with pytest.raises(ClosedLinkError, match="socket: closed"):
        dealer.send([b"x"])


async def test_a_free_endpoint_is_picked_and_a_taken_one_told(context: Closing) -> None:
    first, second = context.router(), context.router()
    taken = first.bind("tcp://127.0.0.1:*")
    assert not taken.endswith("*")
    with pytest.raises(LinkError, match=f"{taken}: cannot be bound: Address already in use"):
        second.bind(taken)
    with pytest.raises(ClosedLinkError):
        second.send([b"peer", b"x"])


async def test_the_supervisor_and_a_worker_talk_over_it(context: Closing, endpoint: str) -> None:
    server = ControlServer(context, endpoint, "key")
    client = ControlClient(context, endpoint, {"process": "p", "run_key": "key", "pid": 1})
    stranger = ControlClient(context, endpoint, {"process": "q", "run_key": "other", "pid": 2})
    with trio.fail_after(HANG_LIMIT_S):
        assert (await server.hear())[0] == "p"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.hear)
            assert (await stranger.hear())["is"] == "refused"
            nursery.cancel_scope.cancel()
        client.tell({"is": "bye"})
        assert await server.hear() == ("p", {"is": "bye"})
        server.tell_all({"is": "exit"})
        assert await client.hear() == {"is": "exit"}
    for end in (client, stranger, server):
        end.close()


# ----------------------------------------------------------------------------------------- only in process


def run_virtually(function: Callable[..., Awaitable[None]], *args: object) -> None:
    trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))


async def arrivals(router: RouterSocket, count: int) -> list[tuple[bytes, int]]:
    """What came next, and how long after the start of the virtual run."""
    clock = TrioClock()
    return [((await hear(router))[1], clock.now_ns() - VIRTUAL_START_NS) for _ in range(count)]


def by_content(delays_ms: dict[bytes, Sequence[int]]) -> Plan:
    def plan(endpoint: str, frames: Sequence[Frame], now_ns: int) -> Sequence[int]:
        return [now_ns + delay * ms for delay in delays_ms.get(bytes(frames[0]), [0])]

    return plan


def test_what_is_delayed_arrives_at_its_instant_and_nothing_overtakes_it() -> None:
    async def converse() -> None:
        network = MemoryNetwork(TrioClock(), by_content({b"slow": [20], b"slower": [50]}))
        router, dealer, other = network.router(), network.dealer(), network.dealer()
        router.bind("memory://e")
        dealer.connect("memory://e")
        other.connect("memory://e")
        for said in (b"fast", b"slow", b"behind", b"slower"):
            dealer.send([said])
        other.send([b"by another way"])
        assert await arrivals(router, 5) == [
            (b"fast", 0),
            (b"by another way", 0),
            (b"slow", 20 * ms),
            (b"behind", 20 * ms),
            (b"slower", 50 * ms),
        ]

    run_virtually(converse)


def test_what_is_dropped_never_comes_and_what_is_doubled_comes_twice() -> None:
    async def converse() -> None:
        network = MemoryNetwork(TrioClock(), by_content({b"gone": [], b"twice": [0, 5]}))
        router, dealer = network.router(), network.dealer()
        router.bind("memory://e")
        dealer.connect("memory://e")
        for said in (b"gone", b"twice", b"last"):
            dealer.send([said])
        assert await arrivals(router, 3) == [(b"twice", 0), (b"twice", 5 * ms), (b"last", 5 * ms)]
        with trio.move_on_after(3600) as scope:
            await router.wait_arrival()
        assert scope.cancelled_caught

    run_virtually(converse)


def test_what_is_under_way_arrives_though_its_sender_has_closed_and_answers_come_at_once() -> None:
    async def converse() -> None:
        network = MemoryNetwork(TrioClock(), by_content({b"slow": [20]}))
        router, dealer, other = network.router(), network.dealer(), network.dealer()
        router.bind("memory://e")
        dealer.connect("memory://e")
        other.connect("memory://e")
        other.send([b"hello"])
        dealer.send([b"slow"])
        dealer.close()
        name, _ = await hear(router)
        router.send([name, b"slow"])
        assert other.receive() == [b"slow"]
        assert await arrivals(router, 1) == [(b"slow", 20 * ms)]

    run_virtually(converse)


def test_the_plan_is_asked_with_the_endpoint_and_the_instant() -> None:
    asked: list[tuple[str, list[Frame], int]] = []

    def plan(endpoint: str, frames: Sequence[Frame], now_ns: int) -> Sequence[int]:
        asked.append((endpoint, list(frames), now_ns - VIRTUAL_START_NS))
        return [now_ns]

    async def converse() -> None:
        network = MemoryNetwork(TrioClock(), plan)
        dealer, router = network.dealer(), network.router()
        dealer.connect("memory://e")
        dealer.send([b"before"])
        await trio.sleep(2)
        router.bind("memory://e")
        dealer.send([b"a", b"b"])

    run_virtually(converse)
    assert asked == [("memory://e", [b"before"], 2_000 * ms), ("memory://e", [b"a", b"b"], 2_000 * ms)]


async def test_what_waited_for_one_router_is_not_said_again_to_the_next() -> None:
    network = MemoryNetwork(TrioClock())
    dealer = network.dealer()
    dealer.connect("memory://e")
    for said in (b"first", b"second", b"third"):
        dealer.send([said])
        router = network.router()
        router.bind("memory://e")
        assert (await hear(router))[1] == said
        assert router.receive() is None
        router.close()


async def test_nothing_is_kept_of_a_dealer_that_has_closed() -> None:
    network = MemoryNetwork(TrioClock())
    router = network.router()
    router.bind("memory://e")
    for _ in range(3):
        dealer = network.dealer()
        dealer.connect("memory://e")
        dealer.close()
    assert not router.peers
    assert not network.dealers


async def test_a_dealer_has_one_endpoint() -> None:
    network = MemoryNetwork(TrioClock())
    dealer = network.dealer()
    dealer.connect("memory://e")
    with pytest.raises(LinkError, match="memory://f: connected to memory://e already, expected one endpoint"):
        dealer.connect("memory://f")


async def test_closing_the_network_closes_every_socket_of_it() -> None:
    with MemoryNetwork(TrioClock()) as network:
        router, dealer, waiting = network.router(), network.dealer(), network.dealer()
        router.bind("memory://e")
        dealer.connect("memory://e")
        waiting.connect("memory://nobody")
    assert router.is_closed
    assert dealer.is_closed
    assert waiting.is_closed
    assert not network.bound
    assert not network.dealers


STEPS = st.lists(
    st.tuples(st.sampled_from("01"), st.sampled_from([0, 0, 1, 7, 30]), st.sampled_from([0, 0, 1, 10])), max_size=30
)


@settings(max_examples=60)
@given(STEPS)
def test_nothing_is_lost_or_overtaken_between_two_sockets_and_nothing_is_early(
    steps: list[tuple[str, int, int]],
) -> None:
    """Each step: who sends, how long it takes, how long they pause."""

    def plan(endpoint: str, frames: Sequence[Frame], now_ns: int) -> Sequence[int]:
        return [now_ns + frames[1][0] * ms]

    async def converse() -> None:
        clock = TrioClock()
        network = MemoryNetwork(clock, plan)
        router: MemoryRouter = network.router()
        router.bind("memory://e")
        dealers = {who: network.dealer() for who in "01"}
        for dealer in dealers.values():
            dealer.connect("memory://e")
        due: dict[bytes, int] = {}
        heard: list[tuple[bytes, bytes, int]] = []

        async def listen() -> None:
            while len(heard) < len(steps):
                name, said, _ = await hear(router)
                heard.append((name, said, clock.now_ns()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            latest = dict.fromkeys(dealers, 0)
            for number, (who, delay_ms, pause_ms) in enumerate(steps):
                latest[who] = max(latest[who], clock.now_ns() + delay_ms * ms)
                due[f"{number:02}{who}".encode()] = latest[who]
                dealers[who].send([f"{number:02}{who}".encode(), bytes([delay_ms])])
                await clock.sleep_until(clock.now_ns() + pause_ms * ms)
        for who in "01":
            said_by = [said for _, said, _ in heard if said.endswith(who.encode())]
            assert said_by == [f"{number:02}{who}".encode() for number, step in enumerate(steps) if step[0] == who]
        assert {said: instant_ns for _, said, instant_ns in heard} == due

    run_virtually(converse)
