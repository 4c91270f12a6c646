"""What a node is lent of its recurrent states: a step is begun with data of several streams, and committed at once.

    stepping = self.begin_steps([message])
    result, *following = model(message.array, *stepping.arrays)
    stepping.commit(following)
    return stepping.results([result])[0]

`begin` finds each stream's slot, says what the datum means for the state (`core.gaps`), and gathers the states of all
that are to be stepped with; data that were stepped with before are left out, and those of streams that there is no room
for, of which it is logged once for each. Until `commit` nothing of a stream has changed: a model that fails in between
has made no step. What is committed is there in the stage's next life.

Where the states themselves are elsewhere, on a device, they go ahead of what lies here. `begin_elsewhere` says which
are to be loaded there; a `Snapshot` is committed once it has come back, with the place it was taken at. A later life
goes on from there, and what was stepped with since is a gap like any other.

What this does not do: know whether a result was sent. A process that dies after the commit and before it loses that
result, unmarked, and the accounts say so. Where nothing may be lost, over lossless edges, each step is tagged with the
handling that it belongs to, and a new life takes back those of one that comes again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from streamflow.core.gaps import NO_SAMPLE, NO_TIME_NS, GapRule, Place, Step, StepKind
from streamflow.core.message import Message
from streamflow.core.slots import Created, Slots
from streamflow.core.state_rules import StateRules
from streamflow.core.timebase import nanoseconds
from streamflow.memory.states import States
from streamflow.runtime.stepping import NO_TAG, Held, Stepping
from streamflow.runtime.stepping_elsewhere import Snapshot, SteppingElsewhere, is_ahead, last_place
from streamflow.wire.arrays import Array

__all__ = ["NO_TAG", "Stepping", "StreamStates", "take_back"]

TOLD_LIMIT: Final = 64  # streams that there was no room for, each with its line; more are names that run away
_LEFT_OUT: Final = Step(StepKind.SKIP)

log = logging.getLogger(__name__)


class StreamStates:
    """Of one stage, over all its lives."""

    def __init__(
        self,
        stage: str,
        states: States,
        rules: StateRules,
        now_ns: Callable[[], int],
        *,
        is_numbered: bool = True,
        sources: Collection[str] = (),
        tag: Callable[[], tuple[int, int]] = lambda: NO_TAG,
    ) -> None:
        """`is_numbered` as in `StateRules.gap_rule`; `sources`: streams that are counted from 0.

        `tag` names the handling that is under way, where it may have to be done again.
        """
        self._stage = stage
        self._states = states
        self._rules = rules
        self._gaps: GapRule = rules.gap_rule(is_numbered=is_numbered)
        self._sources = frozenset(sources)
        self._tag = tag
        self._now_ns = now_ns
        self._begun: Stepping | None = None
        self._begun_count = 0
        self._told: set[str] = set()
        """Streams that there was no room for."""
        taken = states.streams()
        self._slots = Slots(rules.stream_count_max, rules.eviction, idle_ns=rules.idle_ns, taken=taken, now_ns=now_ns())
        self._held = {slot: Held(slot, _last(states, slot)) for _, slot in taken}

    def begin(self, messages: Sequence[Message]) -> Stepping:
        """One datum of each stream at most; what was begun before and not committed was not made.

        Raises StateError for two of one stream.
        """
        given, stepped, held, places = self._seated(messages, lambda one: one.last)
        self._begun_count += 1
        self._begun = Stepping(self._states, given, stepped, held, places, self._tag(), self._begun_count, self._held)
        return self._begun

    def begin_elsewhere(self, messages: Sequence[Message], where: object) -> SteppingElsewhere:
        """The same where the states are elsewhere; several may be under way, in the order in which they were begun.

        `where`: anything that is one and the same there. Who goes on somewhere else, or here, goes on from what was
        committed.
        """
        given, stepped, held, places = self._seated(messages, lambda one: last_place(one, where))
        return SteppingElsewhere(self._states, self._held, given, stepped, held, places, self._tag(), where)

    def snapshot_of_rest(self, where: object, count_max: int) -> Snapshot:
        """Of streams that have made steps there of which none was taken; without slots where there are none."""
        ahead = [one for one in self._held.values() if is_ahead(one, where)]
        return Snapshot(self._states, self._held, ahead[:count_max], NO_TAG)

    def _seated(
        self, messages: Sequence[Message], last_of: Callable[[Held], Place]
    ) -> tuple[list[Step], list[Message], list[Held], list[Place]]:
        """Each datum's step, and of those that are to be made the data, who has the state, and the places to come."""
        if self._begun is not None:
            self._begun.end()
        streams = [message.stream for message in messages]
        seating = self._slots.seat(streams, self._now_ns())
        for created in seating.created:
            self._create(created)
        steps: list[Step] = []
        stepped: list[Message] = []
        held: list[Held] = []
        places: list[Place] = []
        for message, slot in zip(messages, seating.slots, strict=True):
            if slot is None:
                self._tell_no_room(message.stream)
                steps.append(_LEFT_OUT)
                continue
            one, coming = self._held[slot], _place_of(message)
            step = self._gaps.after(last_of(one), coming, is_counted=message.stream in self._sources)
            if one.is_anew and step.kind not in (StepKind.SKIP, StepKind.START):
                step = Step(StepKind.RESET, step.missing_count, elapsed_ns=self._gaps.period_ns)
            steps.append(step)
            if step.kind is not StepKind.SKIP:
                stepped.append(message)
                held.append(one)
                places.append(coming)
        return steps, stepped, held, places

    def start_anew(self) -> None:
        """Each stream's next step is from the initial state, and marked so."""
        for one in self._held.values():
            one.is_anew = True

    def start_anew_behind(self, others: Sequence[StreamStates]) -> None:
        """The same of each stream on which one of the `others` was stepped later: also where the life that changed
        over to this one has died before it made a step."""
        newest_ns: dict[str, int] = {}
        for other in others:
            for stream, slot in other._states.streams():
                newest_ns[stream] = max(newest_ns.get(stream, NO_TIME_NS), other._held[slot].last.event_time_ns)
        for stream, slot in self._states.streams():
            one = self._held[slot]
            one.is_anew = one.is_anew or one.last.event_time_ns < newest_ns.get(stream, NO_TIME_NS)

    def arrays(self, stream: str) -> dict[str, Array]:
        """Copies of what a stream has, by the names of the tensors and in the shape of a batch of one."""
        slot = next((slot for name, slot in self._states.streams() if name == stream), None)
        found = {}
        gathered = None if slot is None else self._states.gather([slot])
        for nth, tensor in enumerate(self._states.tensors):
            if gathered is None:
                shape = tensor.shape if tensor.batch_axis is None else tensor.shape_of(1)
                found[tensor.name] = self._states.initial(tensor.name).reshape(shape).copy()
            else:
                found[tensor.name] = gathered[nth].copy()
        return found

    def close(self) -> None:
        self._states.close()

    def _create(self, created: Created) -> None:
        self._states.assign(created.slot, created.stream)
        self._held[created.slot] = Held(created.slot, Place())

    def _tell_no_room(self, stream: str) -> None:
        told = self._told
        if stream in told or len(told) > TOLD_LIMIT:
            return
        told.add(stream)
        which = f"stream {stream}" if len(told) <= TOLD_LIMIT else "more streams than are named here"
        others = f"those of {self._rules.stream_count_max} others"
        found = f"no room for its state at stage {self._stage} beside {others}; its data have no results"
        hint = "allow for more (streams_max, or stream_count_max of state_rules), or say who makes room (eviction)"
        log.warning("%s: %s; %s", which, found, hint)


def take_back(states: States, tag: tuple[int, int]) -> None:
    """No step was made in that handling: it is done again. No more than once, however often it is said."""
    if tag == NO_TAG:
        return
    for _, slot in states.streams():
        if states.notes(slot)[2:] == tag:
            states.take_back(slot)


def _last(states: States, slot: int) -> Place:
    seq, event_time_ns = states.last(slot)
    recorded_ns, sample, _, _ = states.notes(slot)
    return Place(seq, event_time_ns, recorded_ns, sample)


def _place_of(message: Message) -> Place:
    attributes = message.attributes
    time_s = attributes.get("time_s")
    sample = attributes.get("sample")
    return Place(
        message.seq,
        message.event_time_ns,
        nanoseconds(time_s) if type(time_s) is float else NO_TIME_NS,
        sample if type(sample) is int else NO_SAMPLE,
    )
