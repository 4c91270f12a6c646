"""Which stream has which slot: at first sight, bounded, and nobody makes room for another of the same batch."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamflow.core.slots import Created, Eviction, Seating, Slots
from streamflow.core.timebase import s
from streamflow.errors import StateError

COUNT = 3


def full(eviction: Eviction, idle_ns: int = 0) -> Slots:
    """Of a, b and c, used at 1, 2 and 3 s."""
    slots = Slots(COUNT, eviction, idle_ns=idle_ns)
    for number, stream in enumerate("abc"):
        slots.seat([stream], (number + 1) * s)
    return slots


def test_a_stream_gets_a_slot_at_first_sight_and_keeps_it() -> None:
    slots = Slots(COUNT)
    assert slots.seat(["a", "b"], 0) == Seating([0, 1], [Created("a", 0, None), Created("b", 1, None)])
    assert slots.seat(["b", "a"], 1) == Seating([1, 0], [])
    assert "a" in slots
    assert len(slots) == slots.created_count == 2


def test_where_all_are_taken_refuse_turns_the_new_stream_away() -> None:
    slots = full(Eviction.REFUSE)
    assert slots.seat(["d", "a"], 9 * s) == Seating([None, 0], [])
    assert (slots.refused_count, slots.evicted_count) == (1, 0)
    assert "d" not in slots


def test_the_least_recently_used_makes_room() -> None:
    slots = full(Eviction.LEAST_RECENTLY_USED)
    slots.seat(["a"], 4 * s)
    assert slots.seat(["d"], 5 * s) == Seating([1], [Created("d", 1, "b")])
    assert slots.seat(["e"], 6 * s).created == [Created("e", 2, "c")]
    assert (slots.created_count, slots.evicted_count, slots.refused_count) == (5, 2, 0)


def test_only_who_has_been_idle_for_long_enough_makes_room() -> None:
    slots = full(Eviction.IDLE, idle_ns=10 * s)
    assert slots.seat(["d"], 11 * s - 1).slots == [None]
    assert slots.seat(["d"], 11 * s).created == [Created("d", 0, "a")]
    assert slots.seat(["e"], 11 * s).slots == [None]
    assert (slots.evicted_count, slots.refused_count) == (1, 2)


@pytest.mark.parametrize(("eviction", "idle_ns"), [(Eviction.LEAST_RECENTLY_USED, 0), (Eviction.IDLE, 1)])
def test_nobody_of_the_batch_at_hand_makes_room(eviction: Eviction, idle_ns: int) -> None:
    slots = full(eviction, idle_ns)
    seating = slots.seat(["x", "a", "y", "b", "z"], 99 * s)
    assert seating.slots == [2, 0, None, 1, None]
    assert seating.created == [Created("x", 2, "c")]


def test_who_was_evicted_comes_back_as_a_new_stream() -> None:
    slots = full(Eviction.LEAST_RECENTLY_USED)
    slots.seat(["d"], 4 * s)
    assert slots.seat(["a"], 5 * s).created == [Created("a", 1, "b")]


def test_a_stream_that_has_ended_leaves_its_slot() -> None:
    slots = full(Eviction.REFUSE)
    assert slots.release("b") == 1
    assert slots.release("b") is None
    assert slots.seat(["d"], 4 * s).created == [Created("d", 1, None)]


def test_the_next_life_goes_on_with_the_slots_of_the_one_before() -> None:
    slots = Slots(COUNT, Eviction.LEAST_RECENTLY_USED, taken=[("b", 2), ("a", 0)])
    assert slots.seat(["a", "b"], 1).slots == [0, 2]
    assert slots.created_count == 0
    assert slots.seat(["c"], 2).created == [Created("c", 1, None)]


def test_of_the_streams_of_a_former_life_the_first_named_makes_room_first() -> None:
    slots = Slots(COUNT, Eviction.LEAST_RECENTLY_USED, taken=[("b", 2), ("a", 0), ("c", 1)])
    assert slots.seat(["d"], 1).created == [Created("d", 2, "b")]


def test_the_streams_of_a_former_life_have_been_idle_since_this_one_began() -> None:
    slots = Slots(1, Eviction.IDLE, idle_ns=s, taken=[("a", 0)], now_ns=5 * s)
    assert slots.seat(["b"], 6 * s - 1).slots == [None]
    assert slots.seat(["b"], 6 * s).slots == [0]


def test_a_stream_twice_in_a_batch_is_refused() -> None:
    with pytest.raises(StateError, match="one step of a stream in a batch"):
        Slots(COUNT).seat(["a", "b", "a"], 0)


@pytest.mark.parametrize(
    ("count", "eviction", "idle_ns", "taken"),
    [
        (0, Eviction.REFUSE, 0, []),
        (COUNT, Eviction.IDLE, 0, []),
        (COUNT, Eviction.REFUSE, 1, []),
        (COUNT, Eviction.REFUSE, 0, [("a", COUNT)]),
        (COUNT, Eviction.REFUSE, 0, [("a", -1)]),
        (COUNT, Eviction.REFUSE, 0, [("a", 1), ("b", 1)]),
    ],
)
def test_what_cannot_be_is_refused(
    count: int, eviction: Eviction, idle_ns: int, taken: Iterable[tuple[str, int]]
) -> None:
    with pytest.raises(StateError):
        Slots(count, eviction, idle_ns=idle_ns, taken=taken)


class AnyBatches(RuleBasedStateMachine):
    """Against a model that knows nothing but who has what, and when it was last used."""

    @initialize(eviction=st.sampled_from(Eviction))
    def begin(self, eviction: Eviction) -> None:
        self.eviction = eviction
        self.slots = Slots(COUNT, eviction, idle_ns=5 if eviction is Eviction.IDLE else 0)
        self.has: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.now = 0
        self.created = self.evicted = self.refused = 0

    @rule(batch=st.lists(st.sampled_from("abcdefg"), unique=True, max_size=5), later=st.integers(1, 4))
    def seat(self, batch: list[str], later: int) -> None:
        self.now += later
        seating = self.slots.seat(batch, self.now)
        before = dict(self.has)
        for created in seating.created:
            assert created.stream not in self.has
            assert created.stream in batch
            if created.evicted is not None:
                assert self.has.pop(created.evicted) == created.slot
                self.check_evicted(created.evicted, batch, before)
            assert created.slot not in self.has.values()
            self.has[created.stream] = created.slot
        self.created += len(seating.created)
        self.refused += seating.slots.count(None)
        assert seating.slots == [self.has.get(stream) for stream in batch]
        self.used.update((stream, self.now) for stream in batch if stream in self.has)
        if None in seating.slots:
            assert len(self.has) == COUNT

    def check_evicted(self, evicted: str, batch: list[str], before: dict[str, int]) -> None:
        self.evicted += 1
        assert self.eviction is not Eviction.REFUSE
        assert evicted not in batch
        others = [stream for stream in self.has if stream in before and stream not in batch]
        assert all(self.used[evicted] <= self.used[other] for other in others)
        assert self.eviction is not Eviction.IDLE or self.now - self.used[evicted] >= 5

    @rule(stream=st.sampled_from("abcdefg"))
    def release(self, stream: str) -> None:
        assert self.slots.release(stream) == self.has.pop(stream, None)

    @invariant()
    def bounded_and_counted(self) -> None:
        assert len(self.slots) == len(self.has) <= COUNT
        assert len(set(self.has.values())) == len(self.has)
        assert (self.slots.created_count, self.slots.evicted_count) == (self.created, self.evicted)
        assert self.slots.refused_count == self.refused


TestAnyBatches = AnyBatches.TestCase


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), st.integers(1, 8))
def test_as_many_of_a_batch_are_seated_as_there_are_slots(batch: list[str], count: int) -> None:
    slots = Slots(count, Eviction.LEAST_RECENTLY_USED, taken=[("old", 0)])
    seated = [slot for slot in slots.seat(batch, 1).slots if slot is not None]
    assert len(seated) == min(count, len(batch))
    assert len(set(seated)) == len(seated)
