"""A process of a simulated run: a task with a loop of its own, which does one thing at a time and can be killed.

The worker in it is the runtime's own. What makes it a process is what it is given: a clock, sockets and a channel that
answer only while its loop is free, as those of a real one do. While a stage works, hangs, or everything stands still,
nothing else of the process goes on: no beat is written, no packet read, no telegram heard.

A kill is one by SIGKILL: the recorders are as they were at that instant, nothing is told, no node is closed. What user
code does in its own `finally` on the way out cannot be kept from it, but neither does it reach anybody.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from streamflow.runtime.clock import ClockTimer, TrioClock
from streamflow.runtime.process.control import Channel, ControlClient, Telegram
from streamflow.runtime.process.worker import Worker
from streamflow.transport.memory_socket import MemoryDealer, MemoryNetwork, MemoryRouter
from streamflow.transport.napping import Napping
from streamflow.transport.sockets import DealerSocket, RouterSocket, SocketContext
from streamflow.wire.values import Frame


class Loop:
    """Whose turn it is in a process."""

    def __init__(self, clock: TrioClock) -> None:
        self._clock = clock
        self._is_held = False
        self._freed = trio.Event()
        self._stalled_until_ns = 0
        self._lengthened_ns = 0  # by how much the work in hand takes longer, for it was stalled

    async def turn(self) -> None:
        """Return when nobody holds the loop; no checkpoint where it is free."""
        while True:
            if self._clock.now_ns() < self._stalled_until_ns:
                await self._clock.sleep_until(self._stalled_until_ns)
            elif self._is_held:
                await self._freed.wait()
            else:
                return

    async def work(self, duration_ns: int) -> None:
        """Hold it for so long; whoever waits goes on at the caller's next checkpoint, not before."""
        await self.turn()
        ends_ns = self._clock.now_ns() + duration_ns
        self._is_held = True
        self._lengthened_ns = 0
        try:
            while self._clock.now_ns() < ends_ns + self._lengthened_ns:
                await self._clock.sleep_until(ends_ns + self._lengthened_ns)
        finally:
            self._is_held = False
            self._freed.set()
            self._freed = trio.Event()

    async def hang(self) -> None:
        """Hold it for ever."""
        await self.turn()
        self._is_held = True
        await trio.sleep_forever()

    def stall(self, duration_ns: int) -> None:
        """Everything stands still from now on, the work in hand included."""
        self._lengthened_ns += duration_ns
        self._stalled_until_ns = max(self._stalled_until_ns, self._clock.now_ns() + duration_ns)


class LoopClock:
    """The run's clock, by which a process goes on when its loop is free."""

    def __init__(self, clock: TrioClock, loop: Loop) -> None:
        self.now_ns = clock.now_ns
        self.wall_ns = clock.wall_ns
        self._clock = clock
        self._loop = loop

    def timer(self) -> ClockTimer:
        return _LoopTimer(self._clock, self._loop)

    rough_timer = timer


class _LoopTimer:
    def __init__(self, clock: TrioClock, loop: Loop) -> None:
        self._clock = clock
        self._loop = loop

    async def sleep_until(self, instant_ns: int, napping: Napping | None = None) -> None:
        await self._clock.sleep_until(instant_ns)
        await self._loop.turn()

    def close(self) -> None:
        """Nothing is held."""


class LoopContext:
    """The run's network, as a process sees it: what arrives is noticed when its loop is free."""

    def __init__(self, network: MemoryNetwork, loop: Loop) -> None:
        self.now_ns = network.now_ns
        self._network = network
        self._loop = loop

    def dealer(self) -> DealerSocket:
        return _LoopDealer(self._network.dealer(), self._loop)

    def router(self) -> RouterSocket:
        return _LoopRouter(self._network.router(), self._loop)


class _LoopSocket:
    def __init__(self, socket: MemoryDealer | MemoryRouter, loop: Loop) -> None:
        self._socket = socket
        self._loop = loop
        self.nudge_later = socket.nudge_later
        self.nudge = socket.nudge
        self.has_arrival = socket.has_arrival
        self.wake = socket.wake
        self.send = socket.send

    def receive(self) -> list[Frame] | None:
        return self._socket.receive()

    def napper(self, napping: Napping) -> None:
        """Time is virtual."""

    async def wait_arrival(self) -> None:
        await self._socket.wait_arrival()
        await self._loop.turn()

    def close(self, *, linger_ms: int = 0) -> None:
        self._socket.close(linger_ms=linger_ms)


class _LoopDealer(_LoopSocket):
    def __init__(self, socket: MemoryDealer, loop: Loop) -> None:
        super().__init__(socket, loop)
        self.connect = socket.connect


class _LoopRouter(_LoopSocket):
    def __init__(self, socket: MemoryRouter, loop: Loop) -> None:
        super().__init__(socket, loop)
        self.bind = socket.bind
        self.forget = socket.forget


class _Heard:
    """The channel to the supervisor; `begun(at_ns)` is called when it says that the run starts."""

    def __init__(self, client: ControlClient, begun: Callable[[int], None]) -> None:
        self.tell = client.tell
        self._client = client
        self._begun = begun

    async def hear(self) -> Telegram:
        telegram = await self._client.hear()
        if telegram["is"] == "start":
            self._begun(telegram["at_ns"])
        return telegram


class SimulatedProcess:
    """As the supervisor holds it; `run` is to be a task."""

    pid = 0

    def __init__(self, process: str, clock: TrioClock, start_ns: int) -> None:
        """`start_ns`: how long it takes from its start to its first words."""
        self.process = process
        self.loop = Loop(clock)
        self.born_ns = clock.now_ns()
        self.is_killed = False
        self._start_ns = start_ns
        self._clock = clock
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._worker: Worker | None = None

    async def run(
        self,
        make_client: Callable[[SocketContext], ControlClient],
        make_worker: Callable[[Channel, SocketContext, LoopClock], Worker],
        network: MemoryNetwork,
        begun: Callable[[int], None],
    ) -> None:
        try:
            with self._scope:
                await self._clock.sleep_until(self.born_ns + self._start_ns)
                context = LoopContext(network, self.loop)
                client = make_client(context)
                try:
                    self._worker = make_worker(_Heard(client, begun), context, LoopClock(self._clock, self.loop))
                    await self._worker.run()
                finally:
                    client.close()
        except* Exception:
            if not self.is_killed:  # else it is of one who writes after its death, and nobody hears of it
                raise
        finally:
            self._ended.set()

    async def wait(self) -> str:
        await self._ended.wait()
        return "was killed by SIGKILL" if self.is_killed else "has ended"

    def kill(self) -> None:
        if self.is_killed or self._ended.is_set():
            return
        self.is_killed = True
        if self._worker is not None:
            self._worker.vanish()
        self._scope.cancel()

    def stop_state(self) -> str:
        return "S"

    def close(self) -> None:
        self.kill()
