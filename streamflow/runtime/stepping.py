"""Steps of streams whose states lie in the stage's file: begun with what was committed there, and committed at once.

A state that is not a number (NaN) any more, of one broken input say, would remain so for ever. It is not committed:
the stream goes on from the state before, as if that datum were missing, its result says so (`nan_state`), and it is
logged, once until the stream has a state again. Infinite values may be meant, as in logarithms of nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from streamflow.core.gaps import NO_SEQ, Place, Step, StepKind
from streamflow.core.message import Message
from streamflow.errors import StateError
from streamflow.memory.state_layout import StateTensor
from streamflow.memory.states import States
from streamflow.runtime.node import with_attributes
from streamflow.wire.arrays import Array

_SKIP: Final = StepKind.SKIP
_RESET: Final = StepKind.RESET
_STEP: Final = StepKind.STEP
NO_TAG: Final = (0, 0)
NAN_STATE: Final = {"nan_state": True}
"""What the result of such a step says."""

log = logging.getLogger(__name__)


class Away:
    """A state that is elsewhere, with steps that are not committed here."""

    __slots__ = ("committed_count", "is_anew", "last", "step_count", "taken_count", "where")

    def __init__(self, where: object, *, is_anew: bool = False) -> None:
        """`is_anew`: it was the initial state, not what is committed here."""
        self.is_anew = is_anew
        self.where = where
        """Who has it: variants that share their states have places of their own."""
        self.last = Place()
        self.step_count = 0
        """There, since it was loaded; and how many of them the newest snapshot has seen, and the newest committed."""
        self.taken_count = 0
        self.committed_count = 0


class Held:
    """A stream that has a slot, and what its state belongs to: as in the file, which only its owner writes."""

    __slots__ = ("away", "is_anew", "is_nan", "last", "slot", "step", "tag")

    def __init__(self, slot: int, last: Place) -> None:
        self.slot = slot
        self.last = last
        self.tag = NO_TAG
        self.step = 0
        """The number of the stepping that was begun on it last."""
        self.is_anew = False
        self.is_nan = False
        """The step that was to be committed last was none, and that was told."""
        self.away: Away | None = None
        """None: what was committed is all there is."""


class Stepping:
    """Data of different streams that are stepped with together."""

    __slots__ = (
        "_coming", "_given", "_held", "_holders", "_is_apart", "_nans", "_number", "_states", "_tag",
        "arrays", "is_over", "messages", "steps",
    )  # fmt: skip

    def __init__(
        self,
        states: States,
        given: list[Step],
        messages: list[Message],
        held: list[Held],
        coming: list[Place],
        tag: tuple[int, int],
        number: int,
        holders: Mapping[int, Held],
    ) -> None:
        """`given`: for each datum that was; the rest of those that are to be stepped with. `tag` of the handling.
        `number`: greater than those of the steppings before it. `holders`: who has which slot, also at the commit."""
        self.messages: Final = messages
        """Those to be stepped with, in the order that they were given in: without what has been stepped with before."""
        self.steps: Final = given if len(messages) == len(given) else [step for step in given if step.kind is not _SKIP]
        """How, one for each of them."""
        self.is_over = False
        """Another one was begun, in whose way a commit would be."""
        self._is_apart = False
        self._nans: Sequence[int] = ()
        """Which of `messages` have left no state."""
        self._given = given
        self._states = states
        self._held = held
        self._coming = coming
        self._tag = tag
        self._number = number
        self._holders = holders
        for one in held:
            one.step = number
        self.arrays: Sequence[Array] = states.gather([one.slot for one in held]) if held else ()
        """Their states, in the order of the node's state tensors, side by side along each one's batch axis. The node
        may write to them; the next `begin` does."""
        for nth, step in enumerate(self.steps):
            if step.kind is _RESET:
                make_initial(states, self.arrays, nth)

    def keep_apart(self) -> None:
        """It is committed later, when a device is done with it: its arrays are its own from now on, and those that are
        begun with other streams meanwhile are not in its way."""
        self._is_apart = True
        self.arrays = [array.copy() for array in self.arrays]

    def end(self) -> None:
        """Another one is begun."""
        self.is_over = not self._is_apart

    def rows(self, nth: int) -> list[Array]:
        """Views of the states of one of `messages`, in the shapes of a batch of one."""
        return [row_of(tensor, array, nth) for tensor, array in zip(self._states.tensors, self.arrays, strict=True)]

    def commit(self, following: Sequence[Array]) -> None:
        """The steps were made: `following` is what the streams have from now on, in the shapes of `arrays`.

        Of a stream whose slot another one has got meanwhile nothing is kept, and nothing of what is not a number.
        Raises StateError, with nothing changed, where that does not fit, or where another step was begun meanwhile.
        """
        held, coming = self._held, self._coming
        if self.is_over or (self._is_apart and any(one.step != self._number for one in held)):
            hint = "where a device works on it meanwhile, stepping.keep_apart() before others are begun"
            raise StateError("commit", "a step that is over", "the one that was begun last", hint)
        if self._is_apart:
            there = [nth for nth, one in enumerate(held) if self._holders[one.slot] is one]
            if len(there) < len(held):
                held, coming = [held[nth] for nth in there], [coming[nth] for nth in there]
                following = [
                    array if tensor.batch_axis is None else array.take(there, tensor.axis)
                    for tensor, array in zip(self._states.tensors, following, strict=True)
                ]
        if not held:
            return
        nans = commit_steps(self._states, held, coming, self._tag, following)
        if nans:
            left_out = {held[nth].slot for nth in nans}
            self._nans = [nth for nth, one in enumerate(self._held) if one.slot in left_out]
            held = [one for one in held if one.slot not in left_out]
        for one in held:
            one.is_anew = False
            one.away = None

    def results(self, results: Sequence[Any]) -> list[Any]:
        """One for each datum that was given, of one for each in `messages`: None for what is not stepped with again,
        and with the marks of a gap where data were missing."""
        return marked(self._given, results, self._nans)


def commit_steps(
    states: States, held: Sequence[Held], places: Sequence[Place], tag: tuple[int, int], following: Sequence[Array]
) -> Sequence[int]:
    """These have come to these places: `following` is what they have from now on. `tag` of the handling.

    Returned are those of which it is not a number: nothing of theirs is kept. Raises StateError, with nothing changed,
    where that does not fit, or was a step of the same handling's already.
    """
    if tag != NO_TAG and any(one.tag == tag for one in held):
        twice = next(one.slot for one in held if one.tag == tag)
        stream = next(stream for stream, slot in states.streams() if slot == twice)
        hint = "commit once for all that a datum takes, or let it come over an edge that is not lossless"
        raise StateError(f"stream {stream!r}", "a second step for one datum", "one, which can be taken back", hint)
    nans = _nans(states, following)
    if nans:
        for nth in nans:
            tell_nan(states, held[nth], places[nth])
        kept = [nth for nth in range(len(held)) if nth not in nans]
        if not kept:
            return nans
        held, places = [held[nth] for nth in kept], [places[nth] for nth in kept]
        following = [array.take(kept, tensor.axis) for tensor, array in zip(states.tensors, following, strict=True)]
    states.commit(
        [one.slot for one in held],
        following,
        [place.seq for place in places],
        [place.event_time_ns for place in places],
        [(place.recorded_ns, place.sample, *tag) for place in places],
    )
    for one, place in zip(held, places, strict=True):
        one.last = place
        one.tag = tag
        one.is_nan = False
    return nans


def _nans(states: States, following: Sequence[Array]) -> Sequence[int]:
    """Which streams of those side by side have what is not a number where there are to be numbers."""
    found: set[int] = set()
    for tensor, is_number, array in zip(states.tensors, states.numbers, following, strict=False):
        if is_number and (nans := np.isnan(array)).any():
            others = tuple(axis for axis in range(nans.ndim) if axis != tensor.axis)
            found.update([0] if tensor.batch_axis is None else np.flatnonzero(nans.any(others)).tolist())
    return sorted(found)


def tell_nan(states: States, one: Held, place: Place) -> None:
    """Once, until it has a state again that can be committed."""
    if not one.is_nan:
        one.is_nan = True
        stream = next(stream for stream, slot in states.streams() if slot == one.slot)
        before = f"from datum {one.last.seq}" if one.last.seq != NO_SEQ else "from what it had before"
        found = f"datum {place.seq} has left a state that is not a number (NaN)"
        log.warning("stream %s: %s; it goes on %s", stream, found, before)


def marked(given: Sequence[Step], results: Sequence[Any], nans: Iterable[int] = ()) -> list[Any]:
    """A result for each step that was given, of one for each that is made; `nans` of these have left no state."""
    if nans:
        results = list(results)
        for nth in nans:
            results[nth] = with_attributes(results[nth], NAN_STATE)
    if len(given) == 1 and given[0].kind is _STEP:
        return list(results)
    found = []
    coming = iter(results)
    for step in given:
        result = None if step.kind is _SKIP else next(coming)
        found.append(with_attributes(result, step.marks) if step.missing_count or step.kind is _RESET else result)
    return found


def make_initial(states: States, arrays: Sequence[Array], nth: int) -> None:
    """One stream of those side by side begins anew."""
    for tensor, array in zip(states.tensors, arrays, strict=True):
        row = row_of(tensor, array, nth)
        row[...] = states.initial(tensor.name).reshape(row.shape)


def row_of(tensor: StateTensor, array: Array, nth: int) -> Array:
    """One stream's of those side by side, in the shape of a batch of one."""
    if tensor.batch_axis is None:
        return array
    row: Array = array[(*(slice(None),) * tensor.axis, slice(nth, nth + 1))]
    return row
