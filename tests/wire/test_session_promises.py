"""What two ends of a link refuse, what is a broken promise, and that whatever is said is answered or breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import Overflow
from streamflow.errors import BrokenLinkError, LinkError, RefusedLinkError
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
)
from streamflow.wire.session import EdgeTerms, ReceiverSession, SenderSession, State
from tests.wire.ends import HELLO, TERMS, Link, message, open_receiver, open_sender

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
def test_a_hello_that_does_not_agree_is_refused_with_the_reason(change: dict[str, Any], sentence: str) -> None:
    receiver = ReceiverSession(TERMS)
    assert receiver.receive(replace(HELLO, **change)) == [Refuse(sentence)]
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
