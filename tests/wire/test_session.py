"""Both ends of a link without any socket, from hello to goodbye, over lives of either, and by deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamflow import Message, Overflow
from streamflow.core.deadline import Order
from streamflow.core.message import Flag, Origin
from streamflow.core.trace import Preference
from streamflow.errors import BrokenLinkError, ClosedLinkError
from streamflow.wire.packets import (
    Credit,
    Data,
    End,
    Goodbye,
    Refuse,
    Welcome,
)
from streamflow.wire.session import ReceiverSession, SenderSession, State
from tests.wire.ends import HELLO, TERMS, Link, message, open_receiver, open_sender, opened

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


# ---------------------------------------------------------------------------------------------- lossless

LOSSLESS = replace(TERMS, is_lossless=True)


def test_credit_of_a_lossless_edge_comes_back_when_a_datum_is_done_not_when_it_is_taken() -> None:
    link = opened(LOSSLESS)
    for seq in range(4):
        link.sender.offer(message(seq))
    link.settle()
    link.take()
    link.take()
    link.settle()
    assert not link.sender.has_room
    link.receiver.inbox.done()
    link.answer(link.receiver.due())
    link.settle()
    assert link.sender.has_room


def test_the_end_of_a_lossless_stream_is_answered_when_all_is_done() -> None:
    link = opened(LOSSLESS)
    link.sender.offer(message(0))
    link.sender.end()
    link.settle()
    link.take()
    link.settle()
    assert link.sender.state is State.ENDING
    link.receiver.inbox.done()
    link.answer(link.receiver.due())
    link.settle()
    assert link.sender.is_closed


def test_the_receivers_next_life_gets_again_what_its_former_one_had_not_done() -> None:
    done: set[tuple[int, int]] = set()
    sender = SenderSession(LOSSLESS, done=lambda: done)
    sender.packets()
    sender.receive(Welcome(4))
    for seq in range(3):
        sender.offer(message(seq))
    assert [packet.message.seq for packet in sender.packets() if isinstance(packet, Data)] == [0, 1, 2]
    done.add((0, 0))
    sender.reattach(1, frozenset())
    sender.offer(message(3))
    assert sender.packets() == [replace(HELLO, generation=1)]
    sender.receive(Welcome(4))
    again = [(packet.number, packet.message.seq) for packet in sender.packets() if isinstance(packet, Data)]
    assert again == [(0, 1), (1, 2), (2, 3)]


def test_what_waits_when_the_senders_next_life_greets_comes_again_and_is_not_taken_twice() -> None:
    link = opened(LOSSLESS)
    for seq in range(3):
        link.sender.offer(message(seq))
    link.settle()
    link.take()
    link.receiver.inbox.done()
    link.receiver.reattach(1)
    assert link.receiver.receive(replace(HELLO, generation=1)) == [Welcome(4)]
    assert link.receiver.take() is None
