"""Which data went with a process that died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.losses import Died, EdgeState, InService, Live, LiveState, Loss, losses
from streamflow.core.message import Origin

FREE, HELD, OUT = LiveState.FREE, LiveState.HELD, LiveState.OUT


def origins(seq: int) -> tuple[Origin, ...]:
    return (Origin("a", seq, seq * 1000),)


def live(state: LiveState, number: int, *, generation: int = 1, serial: int = 0, nth: int = 0) -> Live:
    return Live(state, number, generation, origins(number), serial, nth)


def lost_on(edge: EdgeState) -> list[int]:
    found = losses([edge])
    assert {loss.place for loss in found} <= {edge.edge}
    return [loss.origins[0].seq for loss in found]


def test_of_a_dead_receiver_what_was_out_and_not_removed_is_lost() -> None:
    entries = [live(OUT, 5), live(OUT, 6), live(OUT, 7), live(HELD, 8)]
    assert lost_on(EdgeState("a->b", "a", Died.RECEIVER, entries, removed={(1, 5), (1, 6)})) == [7]


def test_what_a_living_sender_holds_is_never_lost() -> None:
    assert lost_on(EdgeState("a->b", "a", Died.RECEIVER, [live(HELD, 0), live(HELD, 1)])) == []


def test_of_a_dead_sender_what_had_arrived_is_with_the_receiver_and_the_rest_is_lost() -> None:
    entries = [live(OUT, 2), live(OUT, 3), live(OUT, 4), live(HELD, 5)]
    assert lost_on(EdgeState("b->c", "b", Died.SENDER, entries, received={1: 4})) == [4, 5]


def test_a_receiver_that_never_heard_of_a_generation_has_received_none_of_it() -> None:
    entries = [live(OUT, 0, generation=2)]
    assert lost_on(EdgeState("b->c", "b", Died.SENDER, entries, received={1: 9})) == [0]


def test_what_a_former_life_of_the_receiver_removed_is_not_lost_with_a_sender_that_never_heard_of_its_end() -> None:
    entries = [live(OUT, 0, generation=1), live(OUT, 1, generation=1), live(OUT, 0, generation=2)]
    state = EdgeState("b->c", "b", Died.SENDER, entries, removed={(1, 0), (2, 0)}, received={2: 0})
    assert [loss.origins[0].seq for loss in losses([state])] == [1, 0]


def test_where_both_ends_died_only_what_was_removed_is_not_lost() -> None:
    entries = [live(OUT, 0), live(OUT, 1), live(HELD, 2)]
    assert lost_on(EdgeState("a->b", "a", Died.BOTH, entries, removed={(1, 0)})) == [1, 2]


def test_inside_a_dead_process_what_was_handed_over_and_not_taken_is_lost() -> None:
    entries = [live(HELD, 0), live(HELD, 1), live(OUT, 2)]
    assert lost_on(EdgeState("a->b", "a", Died.INSIDE, entries, removed={(1, 0)})) == [1, 2]


def test_a_removal_of_another_generation_says_nothing() -> None:
    entries = [live(OUT, 3, generation=2)]
    assert lost_on(EdgeState("a->b", "a", Died.RECEIVER, entries, removed={(1, 3)})) == [3]


@pytest.mark.parametrize("died", Died)
def test_a_free_entry_is_never_lost(died: Died) -> None:
    assert lost_on(EdgeState("a->b", "a", died, [live(FREE, 0)])) == []


def test_what_was_in_service_is_lost_when_nothing_of_it_was_sent_on() -> None:
    edge = EdgeState("b->c", "b", Died.SENDER, [live(FREE, 3, serial=6)], received={1: 4})
    assert losses([edge], [InService("b", 7, origins(9))]) == [Loss("b", origins(9), 1)]


@pytest.mark.parametrize("state", [FREE, OUT])
def test_what_was_sent_on_and_arrived_is_not_lost_with_its_service(state: LiveState) -> None:
    edge = EdgeState("b->c", "b", Died.SENDER, [live(state, 3, serial=7)], received={1: 4})
    assert losses([edge], [InService("b", 7, origins(3))]) == []


def test_what_was_sent_on_and_did_not_arrive_is_lost_on_its_edge_and_once() -> None:
    edge = EdgeState("b->c", "b", Died.SENDER, [live(OUT, 3, serial=7)], received={1: 3})
    assert losses([edge], [InService("b", 7, origins(3))]) == [Loss("b->c", origins(3), 1)]


def test_every_piece_that_was_announced_and_not_sent_is_lost() -> None:
    edge = EdgeState("b->c", "b", Died.SENDER, [live(OUT, 3, serial=7)], received={1: 4})
    found = losses([edge], [InService("b", 7, origins(3), splits=[1, 1])])
    assert found == [Loss("b", origins(3), 1)] * 2


def test_pieces_whose_slots_were_used_again_by_later_pieces_count_as_sent() -> None:
    edge = EdgeState("b->c", "b", Died.SENDER, [live(OUT, 19, serial=7, nth=19)], received={1: 20})
    assert losses([edge], [InService("b", 7, origins(3), splits=[1] * 19)]) == []


def test_a_piece_that_the_stages_own_mailbox_turned_away_is_not_lost_as_well() -> None:
    assert losses([], [InService("b", 7, origins(3), settled=[1])]) == []


def test_a_branch_that_was_not_sent_yet_is_lost_on_the_paths_of_that_branch() -> None:
    edges = [
        EdgeState("b->c", "b", Died.SENDER, [live(OUT, 0, serial=7)], received={1: 1}, mask=0b001),
        EdgeState("b->d", "b", Died.SENDER, [], mask=0b110),
    ]
    assert losses(edges, [InService("b", 7, origins(0), mask=0b111)]) == [Loss("b", origins(0), 0b110)]


def test_a_serial_counts_for_its_own_stage_only() -> None:
    other = EdgeState("x->y", "x", Died.INSIDE, [live(FREE, 0, serial=7)])
    assert losses([other], [InService("b", 7, origins(1))]) == [Loss("b", origins(1), 1)]


def test_a_datum_that_is_in_service_and_not_yet_removed_is_lost_once() -> None:
    edge = EdgeState("a->b", "a", Died.RECEIVER, [live(OUT, 5), live(OUT, 6)])
    found = losses([edge], [InService("b", 1, origins(5), taken={("a->b", 1, 5)})])
    assert found == [Loss("a->b", origins(6), 1), Loss("b", origins(5), 1)]


def test_the_old_number_of_a_slot_that_is_used_again_hides_nothing() -> None:
    edge = EdgeState("a->b", "a", Died.BOTH, [live(HELD, 5)], removed={(1, 5)})
    found = losses([edge], [InService("b", 1, origins(5), taken={("a->b", 1, 5)})])
    assert found == [Loss("a->b", origins(5), 1), Loss("b", origins(5), 1)]


# The law: a small pipeline, a -> b -> c on path 1 and a -> b -> d on path 2, stopped between any two steps.

WINDOW, SLOT_COUNT, SEND_LIMIT = 2, 2, 7
EMPTY = Live(FREE, 0, 0, (), -1)


@dataclass
class Edge:
    """An edge as both its recorders show it, and what really is where."""

    name: str
    source: str
    target: str
    mask: int
    is_inside: bool
    slots: list[Live] = field(default_factory=lambda: [EMPTY] * SLOT_COUNT)
    held: list[int] = field(default_factory=list)
    leaving: list[int] = field(default_factory=list)
    wire: list[int] = field(default_factory=list)
    inbox: list[tuple[int, tuple[Origin, ...]]] = field(default_factory=list)
    removed: set[tuple[int, int]] = field(default_factory=set)
    received: int = 0
    next_number: int = 0

    @property
    def has_slot(self) -> bool:
        return any(slot.state is FREE for slot in self.slots)

    def accept(self, what: tuple[Origin, ...], serial: int, nth: int) -> None:
        index = next(index for index, slot in enumerate(self.slots) if slot.state is FREE)
        old = self.slots[index]
        if self.is_inside:
            self.slots[index] = Live(HELD, self.next_number, 1, what, serial, nth)
            self.inbox.append((self.next_number, what))
            self.next_number += 1
        else:
            self.slots[index] = replace(old, state=HELD, origins=what, serial=serial, nth=nth)
            self.held.append(index)

    def mark_out(self) -> None:
        index = self.held.pop(0)
        self.slots[index] = replace(self.slots[index], state=OUT, number=self.next_number, generation=1)
        self.leaving.append(index)
        self.next_number += 1

    def leave(self) -> None:
        self.wire.append(self.leaving.pop(0))

    def arrive(self) -> None:
        entry = self.slots[self.wire.pop(0)]
        self.inbox.append((entry.number, entry.origins))
        self.received += 1

    def return_credit(self) -> None:
        for index in self.done():
            self.slots[index] = replace(self.slots[index], state=FREE)

    def done(self) -> list[int]:
        return [
            index
            for index, slot in enumerate(self.slots)
            if (slot.state is OUT or (self.is_inside and slot.state is HELD)) and (1, slot.number) in self.removed
        ]

    def state(self, dead: set[str]) -> EdgeState | None:
        ends = (self.source in dead, self.target in dead)
        if not any(ends):
            return None
        died = {(True, True): Died.BOTH, (True, False): Died.SENDER, (False, True): Died.RECEIVER}[ends]
        return EdgeState(
            self.name, self.source, Died.INSIDE if self.is_inside else died, self.slots,
            removed=self.removed if ends[1] else set(), received={} if ends[1] else {1: self.received}, mask=self.mask,
        )  # fmt: skip


@dataclass
class Stage:
    name: str
    inputs: list[Edge]
    outputs: list[Edge]
    serial: int = 0
    service: InService | None = None
    unremoved: tuple[Edge, int] | None = None
    sent: Counter[str] = field(default_factory=Counter)
    due: tuple[Edge, bool] | None = None  # announced: the piece for this edge, and whether it was an extra one

    def take(self, edge: Edge) -> None:
        number, what = edge.inbox.pop(0)
        mask = edge.mask if not self.outputs else sum(out.mask for out in self.outputs)
        self.serial += 1
        self.service = InService(self.name, self.serial, what, mask, taken={(edge.name, 1, number)})
        self.unremoved = (edge, number)
        self.sent.clear()


class Model:
    """The steps that can be taken, and the pieces that have begun and ended."""

    def __init__(self, is_inside: bool) -> None:
        ab = Edge("a->b", "a", "b", 0b11, is_inside)
        bc, bd = Edge("b->c", "b", "c", 0b01, False), Edge("b->d", "b", "d", 0b10, False)
        self.edges = [ab, bc, bd]
        self.stages = [Stage("b", [ab], [bc, bd]), Stage("c", [bc], []), Stage("d", [bd], [])]
        self.admitted = 0
        self.begun: Counter[tuple[int, int]] = Counter()
        self.ended: Counter[tuple[int, int]] = Counter()

    def steps(self) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = []
        for edge in self.edges:
            if edge.source == "a" and edge.has_slot:
                found.append(self.admit)
            if edge.held and len(edge.leaving + edge.wire + edge.inbox) < WINDOW:
                found.append(edge.mark_out)
            if edge.leaving:
                found.append(edge.leave)
            if edge.wire:
                found.append(edge.arrive)
            if edge.done():
                found.append(edge.return_credit)
        for stage in self.stages:
            if stage.unremoved:
                found.append(partial(self.remove, stage))
            elif stage.service is None:
                ready = [edge for edge in stage.inputs if edge.inbox]
                found += [partial(stage.take, edge) for edge in ready]
            elif stage.due:
                found.append(partial(self.send, stage))
            else:
                found.append(partial(self.finish, stage))
                if sum(stage.sent.values()) < SEND_LIMIT:
                    found += [partial(self.announce, stage, edge) for edge in stage.outputs]
        return found

    def count(self, into: Counter[tuple[int, int]], what: tuple[Origin, ...], mask: int, count: int = 1) -> None:
        for bit in (0b01, 0b10):
            if mask & bit and count:
                into[what[0].seq, bit] += count

    def admit(self) -> None:
        what = origins(self.admitted)
        self.count(self.begun, what, 0b11)
        self.edges[0].accept(what, self.admitted, 0)
        self.admitted += 1

    def remove(self, stage: Stage) -> None:
        assert stage.unremoved is not None
        edge, number = stage.unremoved
        edge.removed.add((1, number))
        stage.unremoved = None

    def announce(self, stage: Stage, edge: Edge) -> None:
        assert stage.service is not None
        is_extra = stage.sent[edge.name] + sum(mask == edge.mask for mask in stage.service.settled) > 0
        if is_extra:
            self.count(self.begun, stage.service.origins, edge.mask)
            stage.service = replace(stage.service, splits=[*stage.service.splits, edge.mask])
        stage.due = (edge, is_extra)

    def send(self, stage: Stage) -> None:
        assert stage.service is not None
        assert stage.due is not None
        edge = stage.due[0]
        if edge.has_slot:
            edge.accept(stage.service.origins, stage.service.serial, stage.sent[edge.name])
            stage.sent[edge.name] += 1
        else:  # the mailbox turns it away, and says so in a record
            self.count(self.ended, stage.service.origins, edge.mask)
            stage.service = replace(stage.service, settled=[*stage.service.settled, edge.mask])
        stage.due = None

    def unsent(self, stage: Stage) -> Counter[tuple[int, int]]:
        left: Counter[tuple[int, int]] = Counter()
        if (service := stage.service) is None:
            return left
        for mask in (service.mask, *service.splits):
            self.count(left, service.origins, mask)
        for mask in service.settled:
            self.count(left, service.origins, mask, -1)
        for edge in stage.outputs:
            self.count(left, service.origins, edge.mask, -stage.sent[edge.name])
        return left

    def finish(self, stage: Stage) -> None:
        self.ended += self.unsent(stage)
        stage.service = None

    def living(self, dead: set[str]) -> Counter[tuple[int, int]]:
        """The pieces that are with the living: held, on a wire between them, received, or in service."""
        found: Counter[tuple[int, int]] = Counter()
        for edge in self.edges:
            if edge.source not in dead:
                for index in edge.held:
                    self.count(found, edge.slots[index].origins, edge.mask)
            if edge.source not in dead and edge.target not in dead:
                for index in edge.leaving + edge.wire:
                    self.count(found, edge.slots[index].origins, edge.mask)
            if edge.target not in dead:
                for _, what in edge.inbox:
                    self.count(found, what, edge.mask)
        for stage in self.stages:
            if stage.name not in dead:
                found += self.unsent(stage)
        return found


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 120),
    st.booleans(),
    st.sets(st.sampled_from("abcd"), min_size=1),
    st.integers(0, 3),
)
def test_begun_is_ended_and_lost_and_with_the_living_whenever_processes_die(
    seed: int, step_count: int, is_inside: bool, dead: set[str], read_count: int
) -> None:
    model = Model(is_inside)
    choice = Random(seed).choice
    for _ in range(step_count):
        choice(model.steps())()
    if is_inside and dead & {"a", "b"}:
        dead = dead | {"a", "b"}
    for edge in model.edges:  # receivers read what still comes from a sender that is gone
        if edge.source in dead and edge.target not in dead:
            for _ in range(min(read_count, len(edge.wire))):
                edge.arrive()
    edges = [state for edge in model.edges if (state := edge.state(dead)) is not None]
    found = losses(edges, [stage.service for stage in model.stages if stage.name in dead and stage.service])
    lost: Counter[tuple[int, int]] = Counter()
    for loss in found:
        model.count(lost, loss.origins, loss.mask)
    assert model.begun == model.ended + lost + model.living(dead)
