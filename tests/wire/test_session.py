"""Both ends of a link without any socket: what is agreed, what is refused, and what is a broken promise."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Message, Overflow
from streamflow.core.deadline import Order
from streamflow.core.message import Flag, Origin
from streamflow.core.trace import Preference
from streamflow.errors import BrokenLinkError, ClosedLinkError, LinkError, RefusedLinkError
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


# ------------------------------------------------------------------------------------------------ a life


def test_a_link_from_hello_to_goodbye() -> None:
    link = Link()
    link.sender.offer(message(0))
    assert link.sender.packets() == [HELLO]
    assert link.sender.packets() == [], "before the welcome nothing but the hello is sent"
    assert link.receiver.receive(HELLO) == [Welcome(4)]
    link.sender.receive(Welcome(4))
    link.sender.end()
    data, end = link.sender.packets()
    assert isinstance(data, Data)
    assert end == End(1)
    assert link.receiver.receive(data) == []
    assert link.receiver.receive(end) == []
    assert not link.receiver.is_exhausted
    taken = link.receiver.take()
    assert taken is not None
    assert link.receiver.is_exhausted
    assert link.receiver.due() == [Goodbye()]
    assert not link.sender.is_closed
    link.sender.receive(Goodbye())
    assert link.sender.is_closed


def test_a_stream_without_data_ends_too() -> None:
    link = Link()
    link.sender.end()
    link.settle()
    assert link.receiver.is_exhausted
    assert link.sender.is_closed


def test_the_end_follows_what_is_held() -> None:
    link = Link()
    for seq in range(4):
        link.sender.offer(message(seq))
    link.settle()
    assert not link.sender.offer(message(9)), "the edge is full"
    link.take()
    link.settle()
    assert link.sender.offer(message(4)) is link.sender.has_room is False, "half a window of credits comes together"
    link.take()
    link.settle()
    assert link.sender.offer(message(4))
    link.sender.end()
    link.settle()
    while link.take():
        link.settle()
    assert link.served == [0, 1, 2, 3, 4]
    link.settle()
    assert link.sender.is_closed


def test_an_offer_after_the_end_is_our_own_fault() -> None:
    sender = open_sender()
    sender.end()
    with pytest.raises(ClosedLinkError, match=r"edge a\.out->b\.in: a datum after the end"):
        sender.offer(message(0))


# ------------------------------------------------------------------------------------------------- next lives


def opened(terms: EdgeTerms = TERMS) -> Link:
    link = Link(terms)
    link.settle()
    assert link.sender.state is link.receiver.state is State.OPEN
    return link


def test_the_receivers_next_life_gets_what_was_held_and_not_what_was_lost() -> None:
    link = opened(replace(TERMS, overflow=Overflow.DROP_OLDEST, capacity=4))
    for seq in range(4):
        link.sender.offer(message(seq))
    link.settle()
    assert link.take() is not None
    link.sender.reattach(1, {0})
    assert link.sender.outbox.lost_count == 1, "of the two that were out one was taken"
    assert link.sender.packets() == [replace(HELLO, generation=1)]
    assert link.sender.packets() == []
    assert link.sender.offer(message(4)), "meanwhile the policy holds what comes"
    link.receiver = ReceiverSession(replace(link.sender.terms))
    link.up.clear()
    link.answer(link.receiver.receive(replace(HELLO, generation=1)))
    link.sender.end()
    link.settle()
    while link.take() is not None:
        link.settle()
    link.settle()
    assert link.served == [0, 2, 3, 4]
    assert link.sender.is_closed


def test_the_end_is_said_again_to_the_next_life() -> None:
    link = opened()
    link.sender.end()
    assert link.sender.packets() == [End(0)]
    link.sender.reattach(3, frozenset())
    link.sender.packets()
    link.sender.receive(Welcome(4))
    assert link.sender.packets() == [End(0)]


def test_the_senders_next_life_is_served_after_what_its_former_one_sent() -> None:
    link = opened()
    link.sender.offer(message(0))
    link.settle()
    link.receiver.reattach(1)
    assert link.receiver.state is State.WAITING
    assert link.receiver.receive(HELLO) == [Refuse("generation 0, expected 1")]
    link.sender = SenderSession(replace(TERMS, generation=1))
    link.sender.offer(message(1))
    link.sender.end()
    link.settle()
    assert not link.receiver.is_exhausted
    while link.take() is not None:
        link.settle()
    assert link.served == [0, 1]
    assert link.sender.is_closed


def test_a_stream_that_had_ended_goes_on_with_the_senders_next_life() -> None:
    receiver = open_receiver()
    receiver.receive(End(0))
    assert receiver.is_exhausted
    receiver.reattach(1)
    assert not receiver.is_exhausted
    assert receiver.due() == []


def test_a_sender_that_is_abandoned_counts_what_comes_as_lost_and_never_blocks() -> None:
    sender = open_sender()
    for seq in range(4):
        assert sender.offer(message(seq))
    sender.packets()
    assert not sender.has_room
    sender.abandon({0, 1})
    assert sender.is_closed
    assert sender.outbox.lost_count == 2
    for seq in range(9):
        assert sender.offer(message(seq))
    assert sender.outbox.lost_count == 11
    assert all(not isinstance(packet, Data) for packet in sender.packets())


def test_a_stream_whose_sender_is_gone_for_good_ends_with_what_has_arrived() -> None:
    receiver = open_receiver()
    receiver.receive(Data(0, message(0)))
    receiver.abandon()
    assert not receiver.is_exhausted
    assert receiver.take() is not None
    assert receiver.due() == [], "there is nobody to say goodbye to"
    assert receiver.is_exhausted


def test_whoever_agrees_but_for_a_later_life_may_be_the_senders_next_one() -> None:
    receiver = open_receiver()
    assert receiver.is_successor(replace(HELLO, generation=1))
    for other in (HELLO, replace(HELLO, generation=1, schema="beef"), replace(HELLO, generation=1, edge="x->y")):
        assert not receiver.is_successor(other)
    receiver.reattach(2)
    assert not receiver.is_successor(replace(HELLO, generation=2))


# ---------------------------------------------------------------------------------------------- by deadline

BY_DEADLINE = replace(TERMS, preference=Preference(Order.EDF, lambda message: message.deadline_ns))


def test_by_deadline_credits_say_for_which_data_they_are() -> None:
    link = opened(BY_DEADLINE)
    for seq, deadline_ns in enumerate([30, 10, 20, 40]):
        link.sender.offer(Message({}, "a", seq, deadline_ns=deadline_ns))
        link.settle()
    for _ in range(2):
        link.receiver.take()
    (credit,) = link.receiver.due()
    assert isinstance(credit, Credit)
    assert (credit.count, set(credit.numbers)) == (2, {1, 2})
    link.answer([credit])
    link.settle()
    assert link.sender.outbox.has_out({0, 3})
    assert link.sender.outbox.out_count == 2


@pytest.mark.parametrize("numbers", [(0,), (0, 0), (0, 1, 2), (0, 9)], ids=["fewer", "twice", "more", "never sent"])
def test_credits_that_are_not_one_for_each_datum_that_is_out_break_the_link(numbers: tuple[int, ...]) -> None:
    sender = open_sender(BY_DEADLINE)
    for seq in range(3):
        sender.offer(message(seq))
    sender.packets()
    with pytest.raises(BrokenLinkError, match=r"2 credits for data .* expected one for each that is out"):
        sender.receive(Credit(2, numbers))


def test_what_is_known_of_a_datum_travels_with_it() -> None:
    link = opened()
    origins = (Origin("a", 3, 5), Origin("b", 1, 4))
    sent = Message({}, "a", 3, 5, {"frame": 1}, deadline_ns=70, flags=int(Flag.HELD), sent_ns=60, origins=origins)
    link.sender.offer(sent)
    link.settle()
    assert link.take() == sent


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 0}, f"protocol version 0, expected {PROTOCOL_VERSION}"),
        ({"edge": "x->y"}, "edge x->y, expected a.out->b.in"),
        ({"schema": "beef"}, "schema beef, expected 5eed"),
        ({"generation": 3}, "generation 3, expected 0"),
    ],
)
def test_a_hello_that_does_not_agree_is_refused_with_the_reason(change: dict[str, int | str], sentence: str) -> None:
    receiver = ReceiverSession(TERMS)
    assert receiver.receive(replace(HELLO, **change)) == [Refuse(sentence)]  # type: ignore[arg-type]
    assert receiver.state is State.WAITING
    assert receiver.receive(HELLO) == [Welcome(4)], "somebody else may be the right one"


def test_a_second_sender_is_refused_and_changes_nothing() -> None:
    receiver = open_receiver()
    assert receiver.receive(HELLO) == [Refuse("the edge has its sender already")]
    assert receiver.state is State.OPEN


def test_a_refused_sender_says_why() -> None:
    sender = SenderSession(TERMS)
    sender.packets()
    with pytest.raises(RefusedLinkError, match=r"edge a\.out->b\.in: refused by its receiver: schema 1"):
        sender.receive(Refuse("schema 1, expected 2"))
    assert sender.packets() == []


# ------------------------------------------------------------------------------------------- broken promises


@pytest.mark.parametrize("packet", [Data(0, message(0)), Revocation(0), End(0), Welcome(1), Credit(1), Goodbye()])
def test_a_receiver_that_was_not_greeted_takes_nothing(packet: Packet) -> None:
    with pytest.raises(BrokenLinkError, match=f"a {type(packet).__name__} while waiting"):
        ReceiverSession(TERMS).receive(packet)


@pytest.mark.parametrize("packet", [Welcome(1), Refuse("no"), Credit(1), Goodbye()])
def test_what_only_a_receiver_says_breaks_the_link_when_a_sender_says_it(packet: Packet) -> None:
    with pytest.raises(BrokenLinkError, match=f"a {type(packet).__name__} while open"):
        open_receiver().receive(packet)


@pytest.mark.parametrize("packet", [HELLO, Data(0, message(0)), Revocation(0), End(0), Refuse("no")])
def test_what_only_a_sender_says_breaks_the_link_when_a_receiver_says_it(packet: Packet) -> None:
    with pytest.raises(BrokenLinkError, match=f"a {type(packet).__name__} while open"):
        open_sender().receive(packet)


@pytest.mark.parametrize("packet", [Data(1, message(1)), Revocation(0), End(1)])
def test_nothing_follows_the_end(packet: Packet) -> None:
    receiver = open_receiver()
    receiver.receive(Data(0, message(0)))
    receiver.receive(End(1))
    with pytest.raises(BrokenLinkError, match=f"a {type(packet).__name__} while ended"):
        receiver.receive(packet)


def test_a_datum_out_of_order_breaks_the_link() -> None:
    with pytest.raises(BrokenLinkError, match="datum 1 is out of order or beyond its credits"):
        open_receiver().receive(Data(1, message(1)))


def test_a_datum_beyond_its_credits_breaks_the_link() -> None:
    receiver = open_receiver()
    for number in range(4):
        receiver.receive(Data(number, message(number)))
    with pytest.raises(BrokenLinkError, match="datum 4 is out of order or beyond its credits"):
        receiver.receive(Data(4, message(4)))


def test_an_end_that_counts_otherwise_breaks_the_link() -> None:
    receiver = open_receiver()
    receiver.receive(Data(0, message(0)))
    with pytest.raises(BrokenLinkError, match="the stream ended with 1 data received, expected 2"):
        receiver.receive(End(2))


def test_credits_for_what_was_never_sent_break_the_link() -> None:
    with pytest.raises(BrokenLinkError, match="1 credits granted, expected at most 0"):
        open_sender().receive(Credit(1))


def test_a_welcome_with_more_than_the_window_breaks_the_link() -> None:
    sender = SenderSession(TERMS)
    with pytest.raises(BrokenLinkError, match="5 credits granted, expected at most 4"):
        sender.receive(Welcome(5))


def test_a_second_welcome_grants_the_rest_of_the_window_and_no_more() -> None:
    sender = SenderSession(TERMS)
    sender.receive(Welcome(1))
    sender.receive(Welcome(3))
    with pytest.raises(BrokenLinkError, match="5 credits granted, expected at most 4"):
        sender.receive(Welcome(1))


def test_a_goodbye_before_the_end_breaks_the_link() -> None:
    with pytest.raises(BrokenLinkError, match="a Goodbye while open"):
        open_sender().receive(Goodbye())


# ---------------------------------------------------------------------------------------------------- laws

SMALL = st.integers(0, 5)
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.just(HELLO),
    st.builds(lambda number: Data(number, message(number)), SMALL),
    st.builds(Hello, st.integers(0, 2), st.just(TERMS.edge), st.just(TERMS.schema), st.integers(0, 1)),
    st.builds(Welcome, SMALL),
    st.builds(Refuse, st.text(max_size=5)),
    st.builds(Credit, SMALL, st.lists(SMALL, max_size=3).map(tuple)),
    st.builds(Revocation, SMALL),
    st.builds(End, SMALL),
    st.just(Goodbye()),
)
TERMS_OF = st.builds(
    EdgeTerms, st.just(TERMS.edge), st.just(TERMS.schema), st.sampled_from(Overflow), st.integers(1, 4)
)


@given(TERMS_OF, st.lists(PACKETS | st.just("take"), max_size=30))
def test_whatever_a_sender_says_a_receiver_answers_or_breaks_the_link(
    terms: EdgeTerms, events: list[Packet | str]
) -> None:
    receiver = ReceiverSession(terms)
    granted = given_back = 0
    for event in events:
        if isinstance(event, str):
            receiver.take()
            answers = receiver.due()
        else:
            try:
                answers = receiver.receive(event)
            except LinkError:
                break
        granted += sum(answer.credit_count for answer in answers if isinstance(answer, Welcome))
        given_back += sum(answer.count for answer in answers if isinstance(answer, Credit))
        assert all(isinstance(answer, Welcome | Refuse | Credit | Goodbye) for answer in answers)
        box = receiver.inbox
        assert granted in (0, box.window)
        assert given_back <= box.received_count <= granted + given_back
        assert box.received_count == box.taken_count + len(box) + sum(box.dropped.values())


LIVES = st.sampled_from(["offer", "offer", "end", "reattach"])


@given(TERMS_OF, st.lists(PACKETS | LIVES, max_size=30))
def test_whatever_a_receiver_says_a_sender_keeps_its_promises_or_breaks_the_link(
    terms: EdgeTerms, events: list[Packet | str]
) -> None:
    sender = SenderSession(terms)
    sent: list[Packet] = []
    ended = False
    for event in events:
        if event == "offer":
            if not ended:
                sender.offer(message(0))
        elif event == "end":
            sender.end()
            ended = True
        elif event == "reattach":
            sender.reattach(sender.terms.generation + 1, frozenset())
            sent = []
        else:
            assert not isinstance(event, str)
            try:
                sender.receive(event)
            except LinkError:
                break
        sent += sender.packets()
        assert sender.outbox.out_count <= sender.outbox.window
    assert [packet.number for packet in sent if isinstance(packet, Data)] == list(range(sender.outbox.sent_count))
    assert all(not isinstance(packet, End) for packet in sent[:-1]), "nothing follows the end"
    assert not sent or isinstance(sent[0], Hello)


def step(link: Link, name: str) -> None:
    match name:
        case "offer":
            link.sender.offer(message(link.sender.outbox.offered_count))
        case "send":
            link.send()
        case "take":
            link.take()
        case "deliver" if link.down:
            link.deliver()
        case "hear" if link.up:
            link.hear()


@given(TERMS_OF, st.lists(st.sampled_from(["offer", "send", "deliver", "take", "hear"]), max_size=80))
def test_two_ends_that_keep_their_promises_always_come_to_the_end_together(terms: EdgeTerms, steps: list[str]) -> None:
    link = Link(terms)
    for name in steps:
        step(link, name)
    link.sender.end()
    link.settle()
    while link.take() is not None:
        link.settle()
    outbox, inbox = link.sender.outbox, link.receiver.inbox
    assert link.sender.is_closed
    assert link.receiver.state is State.CLOSED
    assert link.served == sorted(set(link.served))
    assert outbox.transmitted_count == inbox.received_count == inbox.taken_count + sum(inbox.dropped.values())
    assert outbox.offered_count == len(link.served) + sum(outbox.dropped.values()) + sum(inbox.dropped.values())
    if terms.overflow is Overflow.BLOCK:
        assert link.served == list(range(outbox.offered_count))
    elif terms.overflow is not Overflow.DROP_NEWEST and outbox.offered_count:
        assert link.served[-1] == outbox.offered_count - 1
