"""Which of the data that wait a stage serves next, and when links and others in its process have a turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

import trio

from streamflow.core.enforcement import choose
from streamflow.core.message import Message
from streamflow.core.timebase import ms
from streamflow.errors import StreamflowError
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.enforcer import Enforcer
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.spinner import Spinner
from streamflow.transport.link import Bell, NamedBell, Receiver
from streamflow.transport.napping import Napping

TURN_NS: Final = 1 * ms  # how long a stage works on what has arrived before links and others in its process have a turn
POLLED_MAX: Final = 8  # inputs that are looked at before each datum; of more, those that have rung
TURN_NS_MAX: Final = 20 * ms  # a turn costs some 50 us: one whose work takes long has it after every fourth datum

Handle = Callable[[str, Message], Awaitable[None] | None]
"""Given the input's name and a datum; returns what is left to wait for."""
Ended = Callable[[str], Awaitable[None]]


Heard = Callable[[str, int], Awaitable[None] | None]
"""Given an input at which there is nothing to take, and the watermark that its sender has promised."""


class Rows(Protocol):
    """Data that are worked on together: of several inputs, or of several streams."""

    def has_room(self, port: str) -> bool:
        """Whether to take from that input now."""

    def is_due(self) -> bool:
        """Whether there may be something to do although nothing has come."""

    async def make_rows(self) -> None:
        """Do it."""

    def is_over(self) -> bool:
        """Whether all is done although some inputs have not ended."""


class Whole(Protocol):
    """Of a stage whose data are done whole or not at all, each: nothing that comes of one leaves before it is over."""

    def close_gates(self) -> None: ...
    def open_gates(self) -> None: ...


class Serving:
    """Of one stage. Several inputs ring its bell; one wakes it itself."""

    def __init__(
        self,
        enforcer: Enforcer,
        now_ns: Callable[[], int],
        interference: Interference | None,
        *,
        is_joined: bool,
        shares_loop: bool,
        is_alone: bool = False,
        spinner: Spinner | None = None,
    ) -> None:
        """`is_joined`: every input is needed, so none is chosen before another. `is_alone`: it has a real process to
        itself, so that only links wait for their turn. `spinner`: it waits awake at first.
        """
        self.bell = Bell()
        self._rung: dict[str, None] = {}
        self._enforcer = enforcer
        self._now_ns = now_ns
        self._interference = interference
        self._is_joined = is_joined
        self._shares_loop = shares_loop
        self._is_alone = is_alone
        self._spinner = spinner if is_alone else None
        self.whole: Whole | None = None
        self.napping: Napping | None = None
        """How the stage waits, where not in trio."""
        self._turned_ns = 0

    async def begin(self) -> None:
        """In its loop, before anything else."""
        if self._is_alone:
            self.napping = await Napping.here()

    def close(self) -> None:
        if self.napping is not None:
            self.napping.close()
        if self._spinner is not None:
            self._spinner.close()

    async def serve(
        self,
        inlets: Mapping[str, Inlet],
        handle: Handle,
        ended: Ended,
        rows: Rows | None = None,
        heard: Heard | None = None,
    ) -> None:
        """Hand over what arrives until all inputs have ended: from each in turn, or the most urgent first."""
        if self.whole is not None:
            handle = _wholly(handle, self.whole, {port: inlet.receiver for port, inlet in inlets.items()})
        if len(inlets) != 1 or rows is not None:
            receivers = {port: inlet.receiver for port, inlet in inlets.items()}
            await self._serve_several(receivers, handle, ended, rows, heard)
            return
        ((port, inlet),) = inlets.items()
        await self._serve_one(port, inlet.receiver, handle, heard)
        await ended(port)

    def bell_of(self, port: str) -> Bell:
        """For the link that ends there."""
        return NamedBell(port, self.bell, self._rung)

    async def _serve_several(
        self,
        open_ports: dict[str, Receiver],
        handle: Handle,
        ended: Ended,
        rows: Rows | None,
        heard: Heard | None,
    ) -> None:
        """A look at an input costs as much as a tenth of a datum: of many, only those are asked that may have one."""
        chooses = self._enforcer.is_active and not self._is_joined
        has_many = len(open_ports) > POLLED_MAX
        asked = dict(open_ports)
        turn_ends_ns = self._turn_end_ns()
        while open_ports and not (rows is not None and rows.is_over()):
            if self._interference is not None:
                await self._interference.before_take()
            took_any = False
            if rows is not None and rows.is_due():
                took_any = True
                await rows.make_rows()
            for port in self._next_ports(asked) if chooses else list(asked):
                receiver = open_ports[port]
                if rows is not None and not rows.has_room(port):
                    continue
                message = receiver.take()
                if message is not None:
                    took_any = True
                    if self._spinner is not None:
                        self._spinner.took(message.sent_ns)
                    rest = handle(port, message)
                    if rest is not None:
                        await rest
                elif receiver.is_exhausted:
                    del open_ports[port], asked[port]
                    await ended(port)
                else:
                    if heard is not None and (rest := heard(port, receiver.watermark_ns)) is not None:
                        await rest
                    if has_many:
                        del asked[port]
            if not took_any and open_ports and not self._spins(open_ports.values()):
                await self.bell.wait()
            elif self._now_ns() >= turn_ends_ns or has_many:
                await trio.lowlevel.checkpoint()  # so that what has come for others rings
            else:
                continue
            if has_many:
                asked |= {port: open_ports[port] for port in self._rung if port in open_ports}
                self._rung.clear()
            turn_ends_ns = self._turn_end_ns()

    async def _serve_one(self, port: str, receiver: Receiver, handle: Handle, heard: Heard | None) -> None:
        await receiver.take_over()
        take, now_ns = receiver.take if self._is_joined else receiver.pick, self._now_ns
        turn_ends_ns, napping = self._turn_end_ns(), self.napping
        naps = None if napping is None else receiver.napper(napping)
        spinner = self._spinner
        if spinner is not None and napping is not None and naps is not None:
            spinner.begin(napping)
        while True:
            if self._interference is not None:
                await self._interference.before_take()
            message = take()
            if message is not None:
                if spinner is not None:
                    spinner.took(message.sent_ns)
                rest = handle(port, message)
                if rest is not None:
                    await rest
                if now_ns() < turn_ends_ns:
                    continue
                if napping is None or napping.others_wait():
                    await trio.lowlevel.checkpoint()
            elif receiver.is_exhausted:
                return
            elif heard is not None and (rest := heard(port, receiver.watermark_ns)) is not None:
                await rest
            elif self._spins([receiver]):
                if now_ns() < turn_ends_ns:
                    continue
                await trio.lowlevel.checkpoint()
            elif naps is None:
                await receiver.wait()
            elif not naps():
                await trio.lowlevel.checkpoint()
            turn_ends_ns = self._turn_end_ns()

    def _spins(self, receivers: Iterable[Receiver]) -> bool:
        """Whether something has come while the stage waited awake."""
        return self._spinner is not None and self._spinner.spin(receivers)

    def is_turn_over(self, now_ns: int) -> bool:
        """For a source: whether others should have a turn; once a millisecond, however fast it emits."""
        return not self._is_alone or now_ns >= self._turned_ns + TURN_NS

    async def take_turns(self) -> None:
        """Let others have theirs, if any has something to do."""
        if self.napping is None or self.napping.others_wait():
            await trio.lowlevel.checkpoint()
        self._turned_ns = self._now_ns()

    def _turn_end_ns(self) -> int:
        turn_ns = TURN_NS
        if not self._shares_loop:
            turn_ns = max(turn_ns, min(4 * self._enforcer.cost.usual_ns, TURN_NS_MAX))
        return self._now_ns() + turn_ns

    def _next_ports(self, open_ports: Mapping[str, Receiver]) -> list[str]:
        """The input whose next datum comes first by class and deadline; all of them where nothing waits."""
        heads = [(port, message) for port, receiver in open_ports.items() if (message := receiver.peek()) is not None]
        if len(heads) < 2:
            return [port for port, _ in heads] or list(open_ports)
        enforcer = self._enforcer
        timed = [enforcer.head(enforcer.with_deadline(message)) for _, message in heads]
        index = choose(timed, self._now_ns())
        return [heads[0 if index is None else index][0]]


def _wholly(handle: Handle, whole: Whole, receivers: Mapping[str, Receiver]) -> Handle:
    """`handle`, and nothing that comes of a datum leaves before its end is written down; then its sender may know."""

    async def handle_whole(port: str, message: Message) -> None:
        whole.close_gates()
        try:
            rest = handle(port, message)
            if rest is not None:
                await rest
        except StreamflowError:
            whole.open_gates()  # it is over, and its failure is written down
            raise
        whole.open_gates()
        receivers[port].done()

    return handle_whole
