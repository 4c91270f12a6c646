"""What a node is lent of its recurrent states: a step is begun with data of several streams, and committed at once.

    stepping = self.begin_steps([message])
    result, *following = model(message.array, *stepping.arrays)
    stepping.commit(following)
    return stepping.results([result])[0]

`begin` finds each stream's slot, says what the datum means for the state (`core.gaps`), and gathers the states of all
that are to be stepped with; data that were stepped with before are left out. Until `commit` nothing of a stream has
changed: a model that fails in between has made no step. What is committed is there in the stage's next life.

What this does not do: know whether a result was sent. A process that dies after the commit and before it loses that
result, unmarked, and the accounts say so. Where nothing may be lost, over lossless edges, each step is tagged with the
handling that it belongs to, and a new life takes back those of one that comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from streamflow.core.gaps import NO_SAMPLE, NO_TIME_NS, GapRule, Place, Step, StepKind
from streamflow.core.message import Message
from streamflow.core.slots import Created, Slots
from streamflow.core.state_rules import StateRules
from streamflow.core.timebase import nanoseconds
from streamflow.errors import StateError
from streamflow.memory.states import States
from streamflow.runtime.node import with_attributes
from streamflow.wire.arrays import Array

_SKIP: Final = StepKind.SKIP
_RESET: Final = StepKind.RESET
_STEP: Final = StepKind.STEP


NO_TAG: Final = (0, 0)


class _Held:
    """A stream that has a slot, and what its state belongs to: as in the file, which only its owner writes."""

    __slots__ = ("is_anew", "last", "slot", "tag")

    def __init__(self, slot: int, last: Place) -> None:
        self.slot = slot
        self.last = last
        self.tag = NO_TAG
        self.is_anew = False


class Stepping:
    """Data of different streams that are stepped with together."""

    __slots__ = ("_coming", "_given", "_held", "_states", "_tag", "arrays", "is_over", "messages", "steps")

    def __init__(
        self,
        states: States,
        given: list[Step],
        messages: list[Message],
        held: list[_Held],
        coming: list[Place],
        tag: tuple[int, int],
    ) -> None:
        """`given`: for each datum that was; the rest of those that are to be stepped with. `tag` of the handling."""
        self.messages: Final = messages
        """Those to be stepped with, in the order that they were given in: without what has been stepped with before."""
        self.steps: Final = given if len(messages) == len(given) else [step for step in given if step.kind is not _SKIP]
        """How, one for each of them."""
        self.is_over = False
        """Another one was begun, in whose way a commit would be."""
        self._given = given
        self._states = states
        self._held = held
        self._coming = coming
        self._tag = tag
        self.arrays: Sequence[Array] = states.gather([one.slot for one in held]) if held else ()
        """Their states, in the order of the node's state tensors, side by side along each one's batch axis. The node
        may write to them; the next `begin` does."""
        for nth, step in enumerate(self.steps):
            if step.kind is _RESET:
                for tensor, row in zip(states.tensors, self.rows(nth), strict=True):
                    row[...] = states.initial(tensor.name).reshape(row.shape)

    def rows(self, nth: int) -> list[Array]:
        """Views of the states of one of `messages`, in the shapes of a batch of one."""
        index = slice(nth, nth + 1)
        return [
            array if tensor.batch_axis is None else array[(*(slice(None),) * tensor.axis, index)]
            for tensor, array in zip(self._states.tensors, self.arrays, strict=True)
        ]

    def commit(self, following: Sequence[Array]) -> None:
        """The steps were made: `following` is what the streams have from now on, in the shapes of `arrays`.

        Raises StateError, with nothing changed, where that does not fit, or where another step was begun meanwhile.
        """
        held, coming = self._held, self._coming
        if self.is_over:
            raise StateError("commit", "a step that is over", "the one that was begun last")
        if not held:
            return
        tag = self._tag
        if tag != NO_TAG and any(one.tag == tag for one in held):
            stream = next(message.stream for message, one in zip(self.messages, held, strict=True) if one.tag == tag)
            hint = "commit once for all that a datum takes, or let it come over an edge that is not lossless"
            raise StateError(f"stream {stream!r}", "a second step for one datum", "one, which can be taken back", hint)
        self._states.commit(
            [one.slot for one in held],
            following,
            [place.seq for place in coming],
            [place.event_time_ns for place in coming],
            [(place.recorded_ns, place.sample, *tag) for place in coming],
        )
        for one, place in zip(held, coming, strict=True):
            one.last = place
            one.tag = tag
            one.is_anew = False

    def results(self, results: Sequence[Any]) -> list[Any]:
        """One for each datum that was given, of one for each in `messages`: None for what is not stepped with again,
        and with the marks of a gap where data were missing."""
        if len(self._given) == 1 and self._given[0].kind is _STEP:
            return list(results)
        found = []
        coming = iter(results)
        for step in self._given:
            result = None if step.kind is _SKIP else next(coming)
            found.append(with_attributes(result, step.marks) if step.missing_count or step.kind is _RESET else result)
        return found


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
        taken = states.streams()
        self._slots = Slots(rules.stream_count_max, rules.eviction, idle_ns=rules.idle_ns, taken=taken, now_ns=now_ns())
        self._held = {slot: _Held(slot, _last(states, slot)) for _, slot in taken}

    def begin(self, messages: Sequence[Message]) -> Stepping:
        """One datum of each stream at most; what was begun before and not committed was not made.

        Raises StateError for two of one stream, and for a stream there is no room for.
        """
        if self._begun is not None:
            self._begun.is_over = True
        streams = [message.stream for message in messages]
        seating = self._slots.seat(streams, self._now_ns())
        for created in seating.created:
            self._create(created)
        steps: list[Step] = []
        stepped: list[Message] = []
        held: list[_Held] = []
        places: list[Place] = []
        for message, slot in zip(messages, seating.slots, strict=True):
            if slot is None:
                raise self._no_room(message.stream)
            one, coming = self._held[slot], _place_of(message)
            step = self._gaps.after(one.last, coming, is_counted=message.stream in self._sources)
            if one.is_anew and step.kind not in (_SKIP, StepKind.START):
                step = Step(_RESET, step.missing_count, elapsed_ns=self._gaps.period_ns)
            steps.append(step)
            if step.kind is not _SKIP:
                stepped.append(message)
                held.append(one)
                places.append(coming)
        self._begun = Stepping(self._states, steps, stepped, held, places, self._tag())
        return self._begun

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
        self._held[created.slot] = _Held(created.slot, Place())

    def _no_room(self, stream: str) -> StateError:
        found = f"{self._rules.stream_count_max} other streams have a state at stage {self._stage}"
        hint = "allow for more, or say who makes room (eviction)"
        return StateError(f"stream {stream!r}", found, "no more than that", hint)


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
