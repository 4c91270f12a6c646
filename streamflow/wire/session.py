"""The two ends of a link as state machines without input or output: packets in, packets and events out.

    sender    GREETING --Welcome--> OPEN --(end)--> ENDING --Goodbye--> CLOSED
                  |--Refuse--> REFUSED
    receiver  WAITING --Hello--> OPEN --End--> ENDED --(all served)--> CLOSED
    either    any --(its peer died: reattach)--> GREETING or WAITING, of the next generation
              any --(and nobody comes in its place: abandon)--> CLOSED

A packet that has no place in the state is a broken promise: BrokenLinkError, and the peer is done with.
A hello that does not agree is answered with the reason and changes nothing: somebody else may be the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from streamflow.core.inbox import Inbox
from streamflow.core.message import Message
from streamflow.core.outbox import Former, Outbox, Transmit
from streamflow.core.overflow import Overflow
from streamflow.core.trace import Preference, ReceiverTrace, SenderTrace
from streamflow.errors import BrokenLinkError, ClosedLinkError, RefusedLinkError
from streamflow.wire.packets import (
    PROTOCOL_VERSION,
    Credit,
    Data,
    End,
    Goodbye,
    Hello,
    Packet,
    Refuse,
    Revocation,
    Watermark,
    Welcome,
)


@dataclass(frozen=True)
class EdgeTerms:
    """What both ends of an edge must agree on, and which of its data come first."""

    edge: str
    schema: str
    overflow: Overflow
    capacity: int
    generation: int = 0
    preference: Preference[Message] = field(default_factory=Preference)
    is_lossless: bool = False
    """Whether the sender keeps what its receiver has not done, and sends it again to the next life."""


Done = Callable[[], Set[tuple[int, int]]]
"""Generation and number of what the receiver of an edge that keeps its data has done, in whatever life."""


class State(Enum):
    GREETING = auto()
    WAITING = auto()
    OPEN = auto()
    ENDING = auto()
    ENDED = auto()
    REFUSED = auto()
    CLOSED = auto()


class SenderSession:
    """The sending end. `offer` data at any time, `end` once, and send what `packets` gives, in order."""

    def __init__(self, terms: EdgeTerms, trace: SenderTrace[Message] | None = None, done: Done = frozenset) -> None:
        """`done` of an edge that is lossless."""
        self.terms = terms
        self.state = State.GREETING
        self.outbox: Outbox[Message] = Outbox(
            terms.overflow, terms.capacity, terms.preference, trace, keeps=terms.is_lossless
        )
        self._done = done
        self._has_greeted = False
        self._wants_end = False
        self._granted_count = 0  # in this life
        self._watermark_ns = -1
        self._told_ns = -1  # of that, in this life of the receiver

    @property
    def has_room(self) -> bool:
        return self.outbox.has_room

    def sends_at_once(self) -> bool:
        """Whether a datum would leave at once, and nothing before it: `send` may take it."""
        return self.state is State.OPEN and not self._wants_end and self.outbox.sends_at_once()

    def lacks_credit(self) -> bool:
        """Whether a datum would wait, or go, for want of credit alone."""
        return self.state is State.OPEN and self.outbox.lacks_credit()

    def expects_credit(self) -> bool:
        """Whether the receiver may have given some back since the last: it gives half a window at a time."""
        return self.outbox.expects_credit()

    def send(self, message: Message) -> int:
        """`offer`, and the one packet that follows, where it `sends_at_once`: the number of the datum."""
        return self.outbox.send(message)

    @property
    def is_closed(self) -> bool:
        return self.state is State.CLOSED

    def offer(self, message: Message) -> bool:
        """Accept a datum under the edge's policy; False when a blocking edge is full."""
        if self._wants_end:
            raise ClosedLinkError(f"edge {self.terms.edge}", "a datum after the end of the stream")
        accepted = self.outbox.offer(message)
        if self.state is State.CLOSED:
            self.outbox.abandon()
        return accepted

    def take_up(self, former: Sequence[Former[Message]]) -> None:
        """What a former life of this end had sent, or held: told again to the receiver that greets."""
        self.outbox.take_up(former)

    def reattach(self, generation: int, removed: Set[int]) -> None:
        """Greet the receiver's next life; `removed`: what the former one had taken or dropped of what is out."""
        before = self.terms.generation
        self.terms = replace(self.terms, generation=generation)
        self.state = State.GREETING
        self._has_greeted = False
        self._granted_count = 0
        self._told_ns = -1
        self.outbox.reattach(removed, before)

    def abandon(self, removed: Set[int]) -> None:
        """The receiver is gone for good: what comes is let go and counted as lost."""
        self.state = State.CLOSED
        self.outbox.reattach(removed, self.terms.generation)
        self.outbox.abandon(self._done())

    def advance(self, watermark_ns: int) -> None:
        """Nothing older will be offered: told once what is held has gone."""
        self._watermark_ns = max(self._watermark_ns, watermark_ns)

    def end(self) -> None:
        """No more data: the end follows what is held."""
        self._wants_end = True

    def packets(self) -> list[Packet]:
        """What to send now."""
        out: list[Packet] = []
        if not self._has_greeted:
            self._has_greeted = True
            out.append(Hello(PROTOCOL_VERSION, self.terms.edge, self.terms.schema, self.terms.generation))
        if self.state is State.OPEN:
            for action in self.outbox.actions():
                if isinstance(action, Transmit):
                    out.append(Data(action.number, action.item))
                else:
                    out.append(Revocation(action.number))
            if self._watermark_ns > self._told_ns and not self.outbox.held_count:
                self._told_ns = self._watermark_ns
                out.append(Watermark(self._watermark_ns))
            if self._wants_end and not self.outbox.held_count:
                self.state = State.ENDING
                out.append(End(self.outbox.sent_count))
        return out

    def receive(self, packet: Packet) -> None:
        """Take what the receiver sent. Raises RefusedLinkError or BrokenLinkError."""
        match self.state, packet:
            case State.GREETING, Welcome():
                self.state = State.OPEN
                if self.outbox.keeps:
                    self.outbox.settle(self._done())
                self._grant(packet.credit_count)
            case State.GREETING, Refuse():
                self.state = State.REFUSED
                raise RefusedLinkError(f"edge {self.terms.edge}", f"refused by its receiver: {packet.reason}")
            case ((State.OPEN | State.ENDING), Welcome()):
                self._grant(packet.credit_count)  # what a former life of ours had sent has made room
            case ((State.OPEN | State.ENDING), Credit()):
                self._credit(packet, self.outbox.out_count)
            case State.ENDING, Goodbye():
                self.state = State.CLOSED
            case _:
                raise _out_of_place(self.terms.edge, type(packet).__name__, self.state)

    def _grant(self, count: int) -> None:
        self._granted_count += count
        if self._granted_count > self.outbox.window:
            edge, window = f"edge {self.terms.edge}", self.outbox.window
            raise BrokenLinkError(edge, f"{self._granted_count} credits granted", f"at most {window}")
        self.outbox.grant(count)

    def _credit(self, credit: Credit, limit: int) -> None:
        edge = f"edge {self.terms.edge}"
        if credit.count > limit:
            raise BrokenLinkError(edge, f"{credit.count} credits granted", f"at most {limit}")
        numbers = frozenset(credit.numbers)
        if numbers and (len(numbers) != credit.count or not self.outbox.has_out(numbers)):
            raise BrokenLinkError(
                edge, f"{credit.count} credits for data {sorted(numbers)}", "one for each that is out"
            )
        self.outbox.credit(credit.count, numbers)


class ReceiverSession:
    """The receiving end: answers, keeps what arrived until it is taken, returns credits."""

    def __init__(self, terms: EdgeTerms, trace: ReceiverTrace[Message] | None = None) -> None:
        self.terms = terms
        self.state = State.WAITING
        self.inbox: Inbox[Message] = Inbox(
            terms.overflow, terms.capacity, terms.preference, trace, keeps=terms.is_lossless
        )
        self._watermark_ns = -1
        self._passed_ns = -1

    @property
    def watermark_ns(self) -> int:
        """Nothing older will be taken; -1: nothing is promised. It holds once what came before it was taken."""
        if not len(self.inbox):
            self._passed_ns = self._watermark_ns
        return self._passed_ns

    @property
    def is_exhausted(self) -> bool:
        """The stream has ended and everything was taken."""
        return self.state in (State.ENDED, State.CLOSED) and not len(self.inbox)

    def receive(self, packet: Packet) -> list[Packet]:
        """Take what the sender sent; what to answer now. Raises BrokenLinkError."""
        if isinstance(packet, Data):
            self.arrive(packet.number, packet.message)
            return []
        match self.state, packet:
            case _, Hello():
                reason = self._objection(packet)
                if reason:
                    return [Refuse(reason)]
                self.state = State.OPEN
                if self.inbox.keeps:
                    self.inbox.discard_former()  # it comes again, with what this end has not received
                return [Welcome(self.inbox.grants_due())]
            case State.OPEN, Revocation():
                self.inbox.revoke(packet.number)
                return self.due()
            case State.OPEN, Watermark():
                self._watermark_ns = max(self._watermark_ns, packet.event_time_ns)
                return []
            case State.OPEN, End():
                if packet.transmitted_count != self.inbox.arrived_count:
                    raise BrokenLinkError(
                        f"edge {self.terms.edge}",
                        f"the stream ended with {self.inbox.arrived_count} data received",
                        str(packet.transmitted_count),
                    )
                self.state = State.ENDED
                return self.due()
            case _:
                raise _out_of_place(self.terms.edge, type(packet).__name__, self.state)

    def arrive(self, number: int, message: Message) -> None:
        """Take a datum. Raises BrokenLinkError."""
        if self.state is not State.OPEN:
            raise _out_of_place(self.terms.edge, "Data", self.state)
        if not self.inbox.arrive(number, message):
            edge = f"edge {self.terms.edge}"
            raise BrokenLinkError(edge, f"datum {number} is out of order or beyond its credits")

    def take(self) -> Message | None:
        """The datum that is served next, or None."""
        return self.inbox.take()

    def pass_on(self, number: int, message: Message) -> None:
        """`arrive` and `take` in one, for what comes where nothing waits. Raises BrokenLinkError."""
        if self.state is not State.OPEN:
            raise _out_of_place(self.terms.edge, "Data", self.state)
        if not self.inbox.pass_on(number, message):
            raise BrokenLinkError(f"edge {self.terms.edge}", f"datum {number} is out of order")

    def has_due(self) -> bool:
        """Whether there may be something in `due`."""
        return self.state is not State.OPEN or self.inbox.owes_credits()

    def reattach(self, generation: int) -> None:
        """Wait for the sender's next life; what its former one sent stays, and is served first."""
        self.terms = replace(self.terms, generation=generation)
        self.state = State.WAITING
        self.inbox.reattach()

    def abandon(self) -> None:
        """The sender is gone for good: its stream ends with what has arrived."""
        self.inbox.reattach()
        self.state = State.CLOSED

    def due(self) -> list[Packet]:
        """Credits to return now, and the goodbye once everything was taken."""
        out: list[Packet] = []
        if self.state is State.OPEN and (granted := self.inbox.grants_due()):
            out.append(Welcome(granted))
        if self.state in (State.OPEN, State.ENDED):
            count = self.inbox.credits_to_return()
            if count:
                out.append(Credit(count, tuple(self.inbox.numbers_to_return())))
        if self.state is State.ENDED and not len(self.inbox) and not self.inbox.undone_count:
            self.state = State.CLOSED
            out.append(Goodbye())
        return out

    def is_successor(self, hello: Hello) -> bool:
        """Whether this may be our sender's next life, of which nobody has told us yet."""
        terms = self.terms
        is_ours = (hello.version, hello.edge, hello.schema) == (PROTOCOL_VERSION, terms.edge, terms.schema)
        return is_ours and hello.generation > terms.generation

    def _objection(self, hello: Hello) -> str:
        terms = self.terms
        checks: list[tuple[str, Any, Any]] = [
            ("protocol version", hello.version, PROTOCOL_VERSION),
            ("edge", hello.edge, terms.edge),
            ("schema", hello.schema, terms.schema),
            ("generation", hello.generation, terms.generation),
        ]
        for name, found, expected in checks:
            if found != expected:
                return f"{name} {found}, expected {expected}"
        if self.state is not State.WAITING:
            return "the edge has its sender already"
        return ""


def _out_of_place(edge: str, packet: str, state: State) -> BrokenLinkError:
    return BrokenLinkError(f"edge {edge}", f"a {packet} while {state.name.lower()}")
