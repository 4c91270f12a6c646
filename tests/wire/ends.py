"""Both ends of a link, joined by a pretend wire: what the tests of sessions begin with."""

from __future__ import annotations

from collections import deque

from streamflow import Message, Overflow
from streamflow.wire.packets import (
    PROTOCOL_VERSION,
    Hello,
    Packet,
    Welcome,
    decode,
    encode,
)
from streamflow.wire.session import EdgeTerms, ReceiverSession, SenderSession, State

TERMS = EdgeTerms("a.out->b.in", "5eed", Overflow.BLOCK, capacity=4)
HELLO = Hello(PROTOCOL_VERSION, TERMS.edge, TERMS.schema, TERMS.generation)


def message(seq: int) -> Message:
    return Message({}, "a", seq)


class Link:
    """Two sessions joined by a pretend wire; every packet goes through its bytes."""

    def __init__(self, terms: EdgeTerms = TERMS) -> None:
        self.sender = SenderSession(terms)
        self.receiver = ReceiverSession(terms)
        self.down: deque[list[bytes]] = deque()
        self.up: deque[list[bytes]] = deque()
        self.served: list[int] = []

    def send(self) -> None:
        self.down.extend([bytes(frame) for frame in encode(packet)] for packet in self.sender.packets())

    def answer(self, packets: list[Packet]) -> None:
        self.up.extend([bytes(frame) for frame in encode(packet)] for packet in packets)

    def deliver(self) -> None:
        self.answer(self.receiver.receive(decode(self.down.popleft())))

    def take(self) -> Message | None:
        taken = self.receiver.take()
        if taken is not None:
            self.served.append(taken.seq)
            self.answer(self.receiver.due())
        return taken

    def hear(self) -> None:
        self.sender.receive(decode(self.up.popleft()))

    def settle(self) -> None:
        self.send()
        while self.down or self.up:
            while self.down:
                self.deliver()
            while self.up:
                self.hear()
            self.send()


def open_sender(terms: EdgeTerms = TERMS) -> SenderSession:
    sender = SenderSession(terms)
    assert sender.packets() == [HELLO]
    sender.receive(Welcome(sender.outbox.window))
    return sender


def open_receiver(terms: EdgeTerms = TERMS) -> ReceiverSession:
    receiver = ReceiverSession(terms)
    receiver.receive(HELLO)
    return receiver


def opened(terms: EdgeTerms = TERMS) -> Link:
    link = Link(terms)
    link.settle()
    assert link.sender.state is link.receiver.state is State.OPEN
    return link
