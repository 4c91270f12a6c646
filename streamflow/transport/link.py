"""The contract of a link: what an actor knows of an edge, whichever way its data travel.

A sender accepts data under the edge's overflow policy and never waits by itself; a receiver hands them out
in order. Both count everything. Implementations: `local_link` (one process), `socket_sender` and `socket_receiver`
(between processes, over ZeroMQ or over rings in shared memory); one conformance suite holds them to this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import trio

from streamflow.core.message import Message, with_tensors
from streamflow.transport.napping import Napping
from streamflow.wire.arrays import Array, Form
from streamflow.wire.data import Place


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """offered = transmitted + held + sum(dropped)."""

    offered_count: int
    transmitted_count: int
    held_count: int
    dropped: Mapping[str, int]
    depth_peak: int


@dataclass(frozen=True, slots=True)
class ReceiverStatistics:
    """received = delivered + held + sum(dropped); strangers are peers that were refused."""

    received_count: int
    delivered_count: int
    held_count: int
    dropped: Mapping[str, int]
    depth_peak: int
    stranger_count: int


class Backlog(NamedTuple):
    """How many data wait, and the one that is served last: None with nothing, or where that is not the newest."""

    depth: int
    last: Message | None


class Lender(Protocol):
    """Shared memory at the sending end; `memory.lending.Lending` is one."""

    def lend(self, array: Array) -> Place | None: ...

    def forget(self) -> None:
        """The receiver's process is dead."""


class Borrower(Protocol):
    """Shared memory at the receiving end; `memory.lending.Borrowing` is one."""

    def array(self, place: Place, form: Form) -> Array:
        """Raises WireError."""

    def settle(self) -> None:
        """Another life of the sender or of this end begins: what was lent before and is not held here is nobody's."""

    def close(self) -> None: ...


class Sender(Protocol):
    """The end at the actor that sends."""

    def offer(self, message: Message) -> bool:
        """Accept a datum under the policy; False when a blocking edge is full: wait for room, offer again."""

    async def wait_for_room(self) -> None:
        """Return when an offer would be accepted."""

    @property
    def is_jammed(self) -> bool:
        """Whether nothing but opening the gate makes room."""

    def close_gate(self) -> None:
        """What is offered from now on waits here until the gate is opened; within one process it need not."""

    def open_gate(self) -> None: ...

    def advance(self, watermark_ns: int) -> None:
        """Nothing older will be offered."""

    def end(self) -> None:
        """No more data: the end of the stream follows what is held."""

    async def run(self) -> None:
        """Work the link until it is cancelled; raises LinkError when it breaks."""

    async def wait_open(self) -> None:
        """Return when both ends have agreed."""

    async def wait_closed(self) -> None:
        """Return when the receiver has taken everything and the end, or nobody receives any more."""

    def statistics(self) -> SenderStatistics: ...

    def close(self) -> None: ...


class Receiver(Protocol):
    """The end at the actor that receives. Of a lossless edge it says when what was taken is `done`."""

    is_lossless: bool

    def done(self) -> None:
        """All that was taken is done, and written down: its sender need not keep it any longer."""

    def take(self) -> Message | None:
        """The datum that is served next by the edge's policy, or None when nothing is here."""

    def pick(self) -> Message | None:
        """As `take`; but the sender may learn of it when `picked` is called, and the account when it is in service.

        For an actor with one input, which says both before it calls user code: a third less to do for each datum.
        """

    def picked(self) -> None:
        """What was picked last is in service, or given up."""

    def peek(self) -> Message | None:
        """What `take` would return, left where it is."""

    def backlog(self) -> Backlog:
        """What waits to be taken; what has just arrived need not be among it."""

    def has_arrival(self) -> bool:
        """Whether `take` may find more than a moment ago: for one who waits awake, without a turn for anybody else."""

    @property
    def watermark_ns(self) -> int:
        """Nothing older will be taken; below 0: nothing is promised."""

    @property
    def is_exhausted(self) -> bool:
        """The stream has ended and everything was taken."""

    async def run(self) -> None:
        """Work the link until it is exhausted or taken over; rings the bell when there may be something to take."""

    async def take_over(self) -> None:
        """The caller alone works the link from now on: `run` has returned, and `wait` says when to take.

        For an actor with one input: a datum then wakes the actor, not first a task that wakes it.
        """

    async def wait(self) -> None:
        """Return when there may be something to take; only after `take_over`."""

    def napper(self, napping: Napping) -> Callable[[], bool] | None:
        """In place of `wait`: what sleeps until there may be something to take, and is False where a checkpoint is due.

        None where the link knows no other way than to wait in trio's loop.
        """

    def statistics(self) -> ReceiverStatistics: ...

    def close(self) -> None: ...


class Bell:
    """Wakes the one task that waits for any of several inputs; a ring before the wait is not lost."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class NamedBell(Bell):
    """Rings another, which wakes, and leaves its name."""

    def __init__(self, name: str, bell: Bell, rung: dict[str, None]) -> None:
        self._name = name
        self._bell = bell
        self._rung = rung

    def ring(self) -> None:
        self._rung[self._name] = None
        self._bell.ring()

    async def wait(self) -> None:
        await self._bell.wait()


def frozen(message: Message) -> Message:
    """The message with arrays that stay as they are, whatever the sender does to its own: writeable ones are copied."""
    tensors = {}
    for name, array in message.tensors.items():
        if _may_change(array):
            array = array.copy()
            array.flags.writeable = False
        tensors[name] = array
    return with_tensors(message, tensors)


def _may_change(array: Array) -> bool:
    """Whether somebody may still write to it: also through the array of which it is a read-only view."""
    owner: object = array
    while isinstance(owner, np.ndarray) and not owner.flags.writeable:
        owner = owner.base
    return isinstance(owner, np.ndarray)
