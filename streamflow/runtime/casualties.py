"""What a dead process takes along, read from the recorders it leaves: `core.losses` with its facts.

A living sender settles its own edge: it is told what the dead receiver had removed, and counts the rest as lost.
Everything else is settled here: what the dead stages worked on, held back in joins, and had on edges of their own.
Of an edge to a living receiver it must first be known how much that one had received.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from streamflow.core.graph import EdgeDef, Graph
from streamflow.core.losses import Died, EdgeState, InService, Live, LiveState, Loss, losses
from streamflow.core.message import Origin
from streamflow.core.paths import Paths
from streamflow.core.verdict import WORK, Kind
from streamflow.recorder import reader
from streamflow.recorder.layout import GIVEN_UP_MASK, NUMBER_BITS, SERVING
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record
from streamflow.runtime.edge_traces import EDGE_SHIFT, HEAD_MASK
from streamflow.runtime.logbook import FORMER, GIVING_UP, IN_HAND, JOINED, SHED_BITS, SHED_MASK

_GENERATION_MASK = (1 << EDGE_SHIFT - NUMBER_BITS) - 1
_ENDS = (Kind.SHED, Kind.DROPPED, Kind.LOST)  # by which what is in hand ends without having been in service


@dataclass(slots=True)
class Remains:
    """Of one dead process: what it left on its edges, as it was when it died. `unheard`: receivers yet to answer;
    `generations`: of these edges, which ended.

    `in_hand`: what its stages had taken and not begun. `uncounted`: those that had handled what they had not counted.
    `dropped`, `lost` and `offered`: the same of edges.
    """

    stages: tuple[str, ...]
    states: dict[str, EdgeState] = field(default_factory=dict)
    in_service: list[InService] = field(default_factory=list)
    unheard: set[str] = field(default_factory=set)
    generations: dict[str, int] = field(default_factory=dict)
    in_hand: list[Loss] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Settled:
    """What went with a process: `losses`, and how many data or rows its stages had to account for themselves.

    `lost`: data that were lost in each stage. `handled`: what each had handled, to its records, and not counted yet.
    `dropped`, `lost_on` and `offered`: the same of edges.
    """

    losses: list[Loss]
    lost: dict[str, int]
    handled: dict[str, int]
    dropped: Counter[str] = field(default_factory=Counter)
    lost_on: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Hand:
    """What a stage had taken, and was not done with. `taken_before`, `shed_before`, `head`: as counted before it."""

    edge: EdgeDef
    name: tuple[int, int]
    origins: tuple[tuple[int, int], ...]
    taken_before: int
    shed_before: int
    head: int


class Casualties:
    """Over the recorders of a run; `generation_of` is the current life of an edge."""

    def __init__(
        self,
        graph: Graph,
        paths: Paths,
        recordings: Mapping[str, Recording],
        generation_of: Callable[[str], int],
    ) -> None:
        self._graph = graph
        self._paths = paths
        self._recordings = recordings
        self._generation_of = generation_of
        self._names = [stage.name for stage in graph.stages]

    def removed(self, edge: EdgeDef) -> list[int]:
        """Numbers of the edge's current life that its dead receiver had taken or dropped."""
        recording = self._recordings.get(edge.target)
        if recording is None:
            return []
        generation = self._generation_of(edge.name)
        return sorted(self._removed(edge, recording, generation))

    def _removed(self, edge: EdgeDef, receiver: Recording, generation: int) -> set[int]:
        """With what the receiver had in hand: that is its own, whatever it had written down of it."""
        removed = receiver.removed(self._input_index(edge), generation)
        for one in self._dropping(edge, receiver):
            if one.generation & _GENERATION_MASK == generation:
                removed.add(one.number)
        hand = self._hand(edge.target, receiver)
        if hand is not None and hand.edge == edge and hand.name[0] == generation:
            removed.add(hand.name[1])
        return removed

    def _dropping(self, edge: EdgeDef, receiver: Recording) -> list[reader.Live]:
        """What was being dropped from the receiver's mailbox, if its record was written."""
        newest = receiver.newest()
        return [
            one
            for one in self._table(receiver, GIVING_UP)
            if one.generation >> EDGE_SHIFT - NUMBER_BITS == self._input_index(edge)
            and newest is not None
            and newest.serial & HEAD_MASK != one.nth
        ]

    def _told(self, recording: Recording, one: reader.Live) -> Record | None:
        """The record by which what was being given up is on the accounts; None: not yet."""
        after = (record for record in recording.find(*one.origins[0]) if record.serial > one.number + 1)
        return next((record for record in after if record.kind in (Kind.DROPPED, Kind.LOST)), None)

    def _read_steps(self, edge: EdgeDef, sender: Recording, remains: Remains) -> None:
        """What the dead sender had done to the edge, and not counted yet: each is one step of two."""
        counts = sender.outputs()[self._output_index(edge)]
        for one in sender.live(self._output_index(edge)):
            remains.offered[edge.name] += one.turn > counts.offered
            told = self._told(sender, one) if one.is_given_up else None
            if told is not None and told.kind == Kind.LOST:
                remains.lost[edge.name] += counts.lost & GIVEN_UP_MASK == one.generation
            elif told is not None:
                count = counts.dropped.get(edge.overflow.value, 0)
                remains.dropped[edge.name] += count & GIVEN_UP_MASK == one.generation

    def _hand(self, stage: str, recording: Recording) -> _Hand | None:
        """What it had in hand, if it was counted as taken."""
        for live in self._table(recording, IN_HAND):
            into = self._graph.edges_into(stage)
            index, generation = live.generation >> EDGE_SHIFT - NUMBER_BITS, live.generation & _GENERATION_MASK
            if recording.inputs()[index].taken > live.serial:
                shed, head = live.nth & SHED_MASK, live.nth >> SHED_BITS
                return _Hand(into[index], (generation, live.number), live.origins, live.serial, shed, head)
        return None

    def _table(self, recording: Recording, table: str) -> list[reader.Live]:
        for index, (name, _) in enumerate(recording.shape.out_edges):
            if name == table:
                return recording.live(index)
        return []

    def read(
        self, dead: Sequence[str], is_alive: Callable[[str], bool], unheard: Set[tuple[str, int]] = frozenset()
    ) -> Remains:
        """What the stages in `dead`, which were one process, leave behind.

        `unheard`: edges and their generations of which they had not said yet what they had received.
        """
        remains = Remains(tuple(dead))
        for edge in self._graph.edges:
            recording = self._recordings.get(edge.source)
            if recording is None or (edge.source not in dead and (edge.target not in dead or is_alive(edge.source))):
                continue
            if edge.source not in dead:
                continue  # its sender died before, and was settled then
            died = Died.INSIDE if edge.target in dead else Died.SENDER if is_alive(edge.target) else Died.BOTH
            remains.states[edge.name] = self._state(edge, died, recording)
            self._read_steps(edge, recording, remains)
            if died is Died.SENDER:
                remains.unheard.add(edge.name)
                remains.generations[edge.name] = self._generation_of(edge.name)
        for name in dead:
            recording = self._recordings.get(name)
            if recording is not None:
                self._read_stage(name, recording, remains)
                for edge in self._graph.edges_into(name):
                    count = recording.inputs()[self._input_index(edge)].dropped.get(edge.overflow.value, 0)
                    for one in self._dropping(edge, recording):
                        remains.dropped[edge.name] += count == one.serial
                self._read_former(name, recording, remains, unheard)
        return remains

    def _read_stage(self, stage: str, recording: Recording, remains: Remains) -> None:
        """What the stage had in service, in hand, and held back."""
        service = recording.in_service()
        is_serving = recording.word(SERVING) != 0
        hand = self._hand(stage, recording)
        if is_serving and not recording.is_service_counted and service is None:
            remains.uncounted.append(stage)  # its record was written, and no more
        if service is not None:
            remains.in_service += self._in_service(stage, recording, service, hand)
        elif hand is not None and not is_serving:
            newest = recording.newest()
            is_told = newest is not None and newest.serial & HEAD_MASK != hand.head and newest.kind in _ENDS
            if is_told and newest is not None and newest.kind == Kind.SHED:
                if recording.counter("shed") & SHED_MASK == hand.shed_before:
                    remains.uncounted.append(stage)
            elif not is_told and not self._is_held_back(recording, hand):
                mask = self._paths.masks_by_edge(hand.edge.name)
                remains.in_hand.append(Loss(stage, self._origins(hand.origins), mask))
        held = [self._live(one, recording) for one in self._table(recording, JOINED) if not (is_serving and one.is_out)]
        if held:
            mask = 0
            for edge in self._graph.edges_into(stage):
                mask |= self._paths.masks_by_edge(edge.name)
            remains.states[f"{stage} {JOINED}"] = EdgeState(f"{stage} {JOINED}", stage, Died.SENDER, held, mask=mask)

    def _read_former(self, stage: str, recording: Recording, remains: Remains, unheard: Set[tuple[str, int]]) -> None:
        """What waited there from former lives of its senders; of those unheard the senders' recorders tell."""
        hand = self._hand(stage, recording)
        for index, edge in enumerate(self._graph.edges_into(stage)):
            live = []
            for one in self._table(recording, FORMER):
                generation = one.generation & _GENERATION_MASK
                is_in_hand = hand is not None and hand.edge == edge and hand.name == (generation, one.number)
                is_ours = one.generation >> EDGE_SHIFT - NUMBER_BITS == index and (edge.name, generation) not in unheard
                if is_ours and not is_in_hand and one.number not in recording.removed(index, generation):
                    live.append(self._live(one, recording))
            if live:
                state = EdgeState(edge.name, edge.source, Died.SENDER, live, mask=self._paths.masks_by_edge(edge.name))
                remains.states[f"{edge.name} {FORMER}"] = state

    def _is_held_back(self, recording: Recording, hand: _Hand) -> bool:
        """Whether a join has it already."""
        into = self._graph.edges_into(hand.edge.target)
        return any(
            not one.is_out
            and into[one.generation >> EDGE_SHIFT - NUMBER_BITS] == hand.edge
            and (one.generation & _GENERATION_MASK, one.number) == hand.name
            for one in self._table(recording, JOINED)
        )

    def heard(self, remains: Remains, edge: str, received: int) -> None:
        """The living receiver of `edge` says how many data of that life it had received."""
        if edge in remains.unheard:
            remains.unheard.discard(edge)
            generation = remains.generations[edge]
            state = remains.states[edge]
            remains.states[edge] = EdgeState(
                state.edge, state.source, state.died, state.live, state.removed, {generation: received}, state.mask
            )

    def receiver_died(self, remains: Remains, edge: EdgeDef) -> None:
        """It will not say any more: what it had not removed is lost with it."""
        if edge.name in remains.unheard:
            remains.unheard.discard(edge.name)
            state = remains.states[edge.name]
            removed = self._removed_of(edge, state.live)  # of what was out then: the sender may be in its next life
            remains.states[edge.name] = replace(state, died=Died.BOTH, removed=removed)

    def settle(self, remains: Remains) -> Settled:
        """Everything that was lost; only when nobody is left unheard."""
        assert not remains.unheard
        found = losses(remains.states.values(), remains.in_service)
        lost: dict[str, int] = {}
        handled: dict[str, int] = dict.fromkeys(remains.uncounted, 1)
        for loss in [*remains.in_hand, *found]:
            stage, _, table = loss.place.partition(" ")
            if table == JOINED or loss in remains.in_hand:
                lost[stage] = lost.get(stage, 0) + 1
        for service in remains.in_service:
            definition = self._graph.stage(service.stage)
            if any(loss.place == service.stage for loss in found):
                width = len(definition.inputs) if definition.is_joined else 1
                lost[service.stage] = lost.get(service.stage, 0) + width
            else:
                handled[service.stage] = handled.get(service.stage, 0) + 1
        return Settled([*remains.in_hand, *found], lost, handled, remains.dropped, remains.lost, remains.offered)

    def _state(self, edge: EdgeDef, died: Died, recording: Recording) -> EdgeState:
        live = [self._live(one, recording) for one in recording.live(self._output_index(edge), with_free=True)]
        removed = self._removed_of(edge, live)
        return EdgeState(edge.name, edge.source, died, live, removed, {}, self._paths.masks_by_edge(edge.name))

    def _removed_of(self, edge: EdgeDef, live: Iterable[Live]) -> set[tuple[int, int]]:
        """What the receiver has removed in the generations of these, as (generation, number)."""
        receiver = self._recordings.get(edge.target)
        if receiver is None:
            return set()
        generations = {one.generation for one in live}
        return {(each, number) for each in generations for number in self._removed(edge, receiver, each)}

    def _live(self, live: reader.Live, recording: Recording) -> Live:
        if live.is_free:
            state = LiveState.FREE
        elif live.is_given_up:
            state = LiveState.HELD if self._told(recording, live) is None else LiveState.FREE
        else:  # the word that says so is the last to be written
            state = LiveState.OUT if live.is_out or live.number >= 0 else LiveState.HELD
        return Live(state, live.number, live.generation, self._origins(live.origins), live.serial, live.nth)

    def _origins(self, ids: Iterable[tuple[int, int]]) -> tuple[Origin, ...]:
        return tuple(Origin(self._names[stream], seq, 0) for stream, seq in ids if stream >= 0)

    def _in_service(self, stage: str, recording: Recording, record: Record, hand: _Hand | None) -> list[InService]:
        if record.stream < 0:
            return []
        turn = recording.word(SERVING)
        told = recording.find(record.stream, record.seq)
        over = max((one.serial for one in told if one.kind in WORK), default=0)  # of the same datum, handled before
        since = [one for one in told if one.started_ns >= record.started_ns and one.serial > over]
        splits = [one.mask for one in since if one.kind == Kind.SPLIT]
        if self._graph.stage(stage).is_source:
            origins: tuple[Origin, ...] = (Origin(self._names[record.stream], record.seq, record.event_time_ns),)
            mask = 0
            for one in told:
                mask |= one.mask if one.kind == Kind.ADMITTED else 0
            if not mask:
                return []
        else:
            row = [ids for one in self._table(recording, JOINED) if one.is_out for ids in one.origins]
            ids = row or (hand.origins if hand is not None else [(record.stream, record.seq)])
            origins = self._origins(dict.fromkeys(ids))
            through = {origin.stream: self._paths.through(stage, origin.stream) for origin in origins}
            mask = 0
            for one_mask in through.values():
                mask |= one_mask
            seen: set[tuple[int, int]] = set()
            for one_id in ids:  # several pieces of one datum meet in a row
                if one_id in seen:
                    splits.append(through[self._names[one_id[0]]])
                seen.add(one_id)
        return [InService(stage, turn, origins, mask, splits, self._settled(stage, since))]

    def _settled(self, stage: str, since: Sequence[Record]) -> list[int]:
        """Pieces of this service that its own full edges turned away, so that they never had a place."""
        turned_away = {
            self._paths.masks_by_edge(edge.name)
            for edge in self._graph.edges_from(stage)
            if edge.overflow.value == "drop_newest"
        }
        ended = (Kind.DROPPED, Kind.REJECTED)
        return [one.mask for one in since if one.kind in ended and any(one.mask & mask for mask in turned_away)]

    def _input_index(self, edge: EdgeDef) -> int:
        return [each.name for each in self._graph.edges_into(edge.target)].index(edge.name)

    def _output_index(self, edge: EdgeDef) -> int:
        return [each.name for each in self._graph.edges_from(edge.source)].index(edge.name)
