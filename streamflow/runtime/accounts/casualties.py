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
from streamflow.core.losses import Died, EdgeState, InService, Live, Loss, losses
from streamflow.core.message import Origin
from streamflow.core.paths import Paths
from streamflow.core.verdict import Kind
from streamflow.recorder import counts
from streamflow.recorder.edges import GIVING_UP_MARK
from streamflow.recorder.layout import (
    EDGE_SHIFT,
    GIVEN_UP_MASK,
    HEAD_MASK,
    NUMBER_BITS,
    ROW_HEAD,
    SERVING,
    SHED_MASK,
)
from streamflow.recorder.reader import Recording
from streamflow.runtime.accounts.dead_stage import ENDS, GENERATION_MASK, LET_GO, Traces, is_given_up
from streamflow.runtime.accounts.edge_traces import LOST_HELD_BACK, LOST_HERE, TOO_OLD
from streamflow.runtime.accounts.keeping import Unfinished, unfinished, withdrawn
from streamflow.runtime.accounts.tables import FORMER, GIVING_UP, HELD_BACK


@dataclass(slots=True)
class Remains:
    """Of one dead process: what it left on its edges, as it was when it died. `unheard`: receivers yet to answer;
    `generations`: of these edges, which ended.

    `in_hand`: what its stages had taken and not begun. `uncounted`: data that they had shed and not counted;
    `given_up`: those that had given up a datum otherwise, and not counted it. `dropped`, `lost` and `offered`: the same
    of edges; `offered` is less what of unfinished work waited there, and comes again. `returned`: data of lossless
    edges that were taken, and are sent again; `merged`: the pieces that such work had begun. `width`: data of what each
    had in service that it had not counted. `untold`: of data that are on the accounts, or will be, the origins that had
    no record yet.
    """

    stages: tuple[str, ...]
    states: dict[str, EdgeState] = field(default_factory=dict)
    in_service: list[InService] = field(default_factory=list)
    unheard: set[str] = field(default_factory=set)
    generations: dict[str, int] = field(default_factory=dict)
    in_hand: list[Loss] = field(default_factory=list)
    uncounted: Counter[str] = field(default_factory=Counter)
    width: dict[str, int] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    untold: list[Loss] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    returned: Counter[str] = field(default_factory=Counter)
    merged: list[Loss] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settled:
    """What went with a process: `losses`, and how many data or rows its stages had to account for themselves.

    `lost`: data that were lost in each stage. `done`: what each had handled or shed, to its records, and not counted.
    `dropped`, `lost_on`, `offered` and `returned`: the same of edges. `merged`: as in `Remains`.
    """

    losses: list[Loss]
    lost: dict[str, int]
    done: dict[str, int]
    dropped: Counter[str] = field(default_factory=Counter)
    lost_on: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    returned: Counter[str] = field(default_factory=Counter)
    merged: list[Loss] = field(default_factory=list)


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
        self._kept: dict[str, EdgeState] = {}  # lossless edges of senders that are dead, and may live again
        self._abandoned: set[str] = set()
        self._to_emit: dict[str, Loss] = {}  # what dead sources had admitted, and their next lives will hand over

    def removed(self, edge: EdgeDef) -> list[int]:
        """Numbers of the edge's current life that its dead receiver had taken or dropped."""
        recording = self._recordings.get(edge.target)
        if recording is None:
            return []
        generation = self._generation_of(edge.name)
        return sorted(self._removed(edge, recording, generation))

    def _traces(self, stage: str, recording: Recording) -> Traces:
        return Traces(stage, recording, self._graph, self._paths)

    def _removed(self, edge: EdgeDef, recording: Recording, generation: int) -> set[int]:
        """With what the receiver had in hand: that is its own, whatever it had written down of it."""
        receiver = self._traces(edge.target, recording)
        removed = recording.removed(self._input_index(edge), generation)
        for one in self._dropping(edge, receiver):
            if one.generation & GENERATION_MASK == generation:
                removed.add(one.number)
        hand = receiver.hand()
        if hand is not None and hand.edge == edge and hand.name[0] == generation:
            if self._is_kept(edge) and not receiver.has_told(hand):
                removed.discard(hand.name[1])
            else:
                removed.add(hand.name[1])
        return removed

    def _is_kept(self, edge: EdgeDef) -> bool:
        return edge.is_lossless and edge.name not in self._abandoned

    def _unfinished(self, traces: Traces) -> Unfinished | None:
        work = unfinished(traces)
        return work if work is not None and (work.edge is None or self._is_kept(work.edge)) else None

    def _dropping(self, edge: EdgeDef, receiver: Traces) -> list[counts.Live]:
        """What was being dropped from the receiver's mailbox, if its record was written."""
        newest = receiver.recording.newest()
        return [
            one
            for one in receiver.table(GIVING_UP)
            if one.number >= 0
            and one.generation >> EDGE_SHIFT - NUMBER_BITS == self._input_index(edge)
            and newest is not None
            and newest.serial & HEAD_MASK != one.nth
        ]

    def _read_steps(self, edge: EdgeDef, sender: Traces, remains: Remains) -> None:
        """What the dead sender had done to the edge, and not counted yet: each is one step of several."""
        sent = sender.recording.outputs()[self._output_index(edge)]
        for one in sender.recording.live(self._output_index(edge)):
            remains.offered[edge.name] += one.turn > sent.offered
            if not is_given_up(one):
                continue
            told, untold = sender.told_given_up(one)
            if told is not None:
                is_lost = told.kind == Kind.LOST
                count = sent.lost if is_lost else sent.dropped.get(edge.overflow.value, 0)
                is_counted = count & GIVEN_UP_MASK | GIVING_UP_MARK != one.generation
                (remains.lost if is_lost else remains.dropped)[edge.name] += not is_counted
                self._add_untold(remains, edge.source, untold, self._paths.masks_by_edge(edge.name))

    @staticmethod
    def _add_untold(remains: Remains, stage: str, untold: tuple[Origin, ...], mask: int) -> None:
        if untold:
            remains.untold.append(Loss(stage, untold, mask))

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
            self._kept.pop(edge.name, None)
            self._read_steps(edge, self._traces(edge.source, recording), remains)
            if died is Died.SENDER:
                remains.unheard.add(edge.name)
                remains.generations[edge.name] = self._generation_of(edge.name)
        for name in dead:
            recording = self._recordings.get(name)
            if recording is not None:
                traces = self._traces(name, recording)
                self._read_kept(name)
                self._read_stage(name, traces, remains)
                for edge in self._graph.edges_into(name):
                    count = recording.inputs()[self._input_index(edge)].dropped.get(edge.overflow.value, 0)
                    for one in self._dropping(edge, traces):
                        remains.dropped[edge.name] += count == one.serial
                        _, untold = traces.told(one.origins, traces.whole(one.nth), LET_GO)
                        self._add_untold(remains, name, untold, self._paths.masks_by_edge(edge.name))
                self._read_former(name, traces, remains, unheard)
        return remains

    def _read_stage(self, stage: str, traces: Traces, remains: Remains) -> None:
        """What the stage had in service, in hand, and held back."""
        recording = traces.recording
        work = self._unfinished(traces)
        if work is not None:
            self._read_unfinished(stage, traces, remains, work)
            return
        is_serving = recording.word(SERVING) != 0
        hand = traces.hand()
        giving_up = next((one for one in traces.table(GIVING_UP) if one.number < 0), None)
        if is_serving:
            is_counted = recording.is_service_counted
            if giving_up is not None:
                is_counted = recording.counter("lost") > giving_up.serial
            if not is_counted:
                found = traces.in_service(hand, giving_up)
                remains.in_service += found
                definition = self._graph.stage(stage)
                if not found and not definition.is_source and not definition.is_joined:
                    remains.given_up.append(stage)  # a datum in nobody's name: of a timer, or a remainder
                row = [one for one in traces.table(HELD_BACK) if one.is_out]
                remains.width[stage] = traces.uncounted(row) if definition.holds_back else 1
        elif hand is not None:
            told, untold = traces.told(hand.origins, traces.whole(hand.head), ENDS)
            mask = self._paths.masks_by_edge(hand.edge.name)
            if told is not None:
                self._add_untold(remains, stage, untold, mask)
                if told.kind == Kind.SHED and recording.counter("shed") & SHED_MASK == hand.shed_before:
                    remains.uncounted[stage] += 1
            elif not traces.is_held_back(hand):
                remains.in_hand.append(Loss(stage, untold, mask))
        held = [one for one in traces.table(HELD_BACK) if not (is_serving and one.is_out)]
        if giving_up is not None and not is_serving:
            self._read_given_up(stage, traces, remains, giving_up, held)
        row = [one for one in held if one.is_out]
        if row and self._is_row_shed(stage, traces, remains, row):
            held = [one for one in held if not one.is_out]
        place = f"{stage} {HELD_BACK}"
        for index, edge in enumerate(self._graph.edges_into(stage)):
            live = [traces.live(one) for one in held if one.generation >> EDGE_SHIFT - NUMBER_BITS == index]
            if live:
                mask = self._paths.masks_by_edge(edge.name)
                remains.states[f"{place} {edge.name}"] = EdgeState(place, stage, Died.SENDER, live, mask=mask)

    def _read_unfinished(self, stage: str, traces: Traces, remains: Remains, work: Unfinished) -> None:
        """It comes again, whole: what had come of it has not left the stage."""
        if work.edge is not None:
            remains.returned[work.edge.name] += 1
        else:
            self._to_emit[stage] = Loss(stage, traces.origins(work.origins), work.admitted)
        for index, edge in enumerate(self._graph.edges_from(stage)):
            remains.offered[edge.name] -= len(withdrawn(traces.recording, index, work))
        for one_id in dict.fromkeys(work.origins):
            for one in traces.recording.find(*one_id):
                if one.kind == Kind.SPLIT and one.serial > work.since:
                    remains.merged.append(Loss(stage, traces.origins([one_id]), one.mask))

    def _read_kept(self, dead: str) -> None:
        """What senders that are dead too have kept for it: what it had not done is with nobody else now."""
        for edge in self._graph.edges_into(dead):
            state = self._kept.get(edge.name)
            if state is not None:
                removed = self._removed_of(edge, state.live)
                self._kept[edge.name] = replace(state, died=Died.BOTH, removed=removed)

    def _read_given_up(
        self, stage: str, traces: Traces, remains: Remains, one: counts.Live, held: list[counts.Live]
    ) -> None:
        """What was taken and was being given up: too old, or without a partner. `held`: without it, if that is told."""
        recording = traces.recording
        told, untold = traces.told(one.origins, traces.whole(one.nth), ENDS)
        if told is None:
            return
        index, place = one.generation >> EDGE_SHIFT - NUMBER_BITS, (one.generation & GENERATION_MASK) << NUMBER_BITS
        if place == LOST_HERE:
            return  # that was counted before its service was over
        if place == TOO_OLD:  # and still in hand
            count = recording.inputs()[index].dropped.get("too_old", 0)
        else:
            count = recording.counter("lost" if place == LOST_HELD_BACK else "left_out")
            edge = self._graph.edges_into(stage)[index]
            self._add_untold(remains, stage, untold, self._paths.masks_by_edge(edge.name))
            same = (each for each in held if each.origins == one.origins and each.generation >> 16 == index)
            if (its_own := next(same, None)) is not None:
                held.remove(its_own)
        if count == one.serial:
            remains.given_up.append(stage)

    def _is_row_shed(self, stage: str, traces: Traces, remains: Remains, row: Sequence[counts.Live]) -> bool:
        """Whether the stage has shed the row that it was about to work on; `row`: what of it is still held back."""
        ids = dict.fromkeys(one_id for one in row for one_id in one.origins)
        told, untold = traces.told(ids, traces.recording.word(ROW_HEAD), {Kind.SHED})
        if told is not None:
            self._add_untold(remains, stage, untold, traces.through(ids))
            remains.uncounted[stage] += traces.uncounted(row)
        return told is not None

    def _read_former(self, stage: str, traces: Traces, remains: Remains, unheard: Set[tuple[str, int]]) -> None:
        """What waited there from former lives of its senders; of those unheard the senders' recorders tell."""
        hand = traces.hand()
        for index, edge in enumerate(self._graph.edges_into(stage)):
            if self._is_kept(edge):
                continue
            live = []
            for one in traces.table(FORMER):
                generation = one.generation & GENERATION_MASK
                is_in_hand = hand is not None and hand.edge == edge and hand.name == (generation, one.number)
                is_ours = one.generation >> EDGE_SHIFT - NUMBER_BITS == index and (edge.name, generation) not in unheard
                if is_ours and not is_in_hand and one.number not in traces.recording.removed(index, generation):
                    live.append(traces.live(one))
            if live:
                state = EdgeState(edge.name, edge.source, Died.SENDER, live, mask=self._paths.masks_by_edge(edge.name))
                remains.states[f"{edge.name} {FORMER}"] = state

    def heard(self, remains: Remains, edge: str, received: int) -> None:
        """The living receiver of `edge` says how many data of that life it had received."""
        if edge in remains.unheard:
            remains.unheard.discard(edge)
            generation = remains.generations[edge]
            remains.states[edge] = replace(remains.states[edge], received={generation: received})

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
        for name, state in remains.states.items():
            if state.is_kept and name in self._abandoned:
                remains.states[name] = replace(state, is_kept=False)
            elif state.is_kept:
                self._kept[name] = state
        found = losses(remains.states.values(), remains.in_service)
        lost: dict[str, int] = {}
        done = dict(remains.uncounted)
        for loss in [*remains.in_hand, *found]:
            stage, _, table = loss.place.partition(" ")
            if table == HELD_BACK or loss in remains.in_hand:
                lost[stage] = lost.get(stage, 0) + 1
        for stage in remains.given_up:
            lost[stage] = lost.get(stage, 0) + 1
        for stage in dict.fromkeys(service.stage for service in remains.in_service):
            sums = lost if any(loss.place == stage for loss in found) else done
            sums[stage] = sums.get(stage, 0) + remains.width[stage]
        all_lost = [*remains.in_hand, *remains.untold, *found]
        return Settled(
            all_lost,
            lost,
            done,
            remains.dropped,
            remains.lost,
            remains.offered,
            remains.returned,
            remains.merged,
        )

    def abandon(self, edge: str) -> None:
        """One of its ends stays dead: nothing is sent again."""
        self._abandoned.add(edge)

    def let_go(self, edge: str) -> Settled | None:
        """What a dead sender had kept on it, which nobody will send; None where it had not, or lives again."""
        state = self._kept.pop(edge, None)
        return None if state is None else Settled(losses([replace(state, is_kept=False)]), {}, {})

    def lives_again(self, stage: str) -> None:
        """Its next life has taken over what was kept on its edges, and will emit what it was at."""
        self._to_emit.pop(stage, None)
        for edge in self._graph.edges_from(stage):
            self._kept.pop(edge.name, None)

    def never_emitted(self, stage: str) -> Settled | None:
        """A source stays dead: what it was at is lost."""
        loss = self._to_emit.pop(stage, None)
        return None if loss is None else Settled([loss], {}, {})

    def _state(self, edge: EdgeDef, died: Died, recording: Recording) -> EdgeState:
        sender = self._traces(edge.source, recording)
        index = self._output_index(edge)
        taken_back = {one.place for one in withdrawn(recording, index, self._unfinished(sender))}
        found = recording.live(index, with_free=True)
        live = [sender.live(one) for one in found if one.place not in taken_back]
        removed = self._removed_of(edge, live)
        mask = self._paths.masks_by_edge(edge.name)
        return EdgeState(edge.name, edge.source, died, live, removed, {}, mask, self._is_kept(edge))

    def _removed_of(self, edge: EdgeDef, live: Iterable[Live]) -> set[tuple[int, int]]:
        """What the receiver has removed in the generations of these, as (generation, number)."""
        receiver = self._recordings.get(edge.target)
        if receiver is None:
            return set()
        generations = {one.generation for one in live}
        return {(each, number) for each in generations for number in self._removed(edge, receiver, each)}

    def _input_index(self, edge: EdgeDef) -> int:
        return [each.name for each in self._graph.edges_into(edge.target)].index(edge.name)

    def _output_index(self, edge: EdgeDef) -> int:
        return [each.name for each in self._graph.edges_from(edge.source)].index(edge.name)
