"""Steps of streams whose states are elsewhere, on a device say, and ahead of what is committed in the stage's file.

What comes back from there is a `Snapshot`: some streams' states and the places that they belong to. It may come back
long after the step, when there are later ones, when its stream has begun anew, or when its slot is another's: so each
says itself what of it still counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from streamflow.core.gaps import Place, Step, StepKind
from streamflow.core.message import Message
from streamflow.memory.states import States
from streamflow.runtime.stepping import NO_TAG, Away, Held, commit_steps, make_initial, marked, tell_nan
from streamflow.wire.arrays import Array


class Snapshot:
    """States of some streams as they were elsewhere after a step, to be committed once they have come back."""

    __slots__ = ("_holders", "_states", "_tag", "_taken", "slots")

    def __init__(self, states: States, holders: Mapping[int, Held], held: Sequence[Held], tag: tuple[int, int]) -> None:
        """Of `held`, as far as they have come. `holders`: who has which slot, also when it is committed."""
        self.slots: Final = [one.slot for one in held]
        """In which order their states are expected."""
        self._states = states
        self._holders = holders
        self._tag = tag
        self._taken: list[tuple[Held, Away, int, Place]] = []
        for one in held:
            away = one.away
            assert away is not None
            away.taken_count = away.step_count
            self._taken.append((one, away, away.step_count, away.last))

    def commit(self, following: Sequence[Array]) -> Collection[int]:
        """`following`, side by side in the order of `slots`, is what the streams had.

        What is out of date is left out: of a stream whose slot is another's by now, whose state was loaded again since,
        or which has committed a later step. So is what is not a number: the slots of these streams, whose next data are
        stepped with from what was committed before. Raises StateError where the arrays do not fit.
        """
        newest = [nth for nth, taken in enumerate(self._taken) if self._is_newest(*taken[:3])]
        if not newest:
            return ()
        if len(newest) < len(self._taken):
            tensors = self._states.tensors
            following = [array.take(newest, tensor.axis) for tensor, array in zip(tensors, following, strict=True)]
        held, places = [self._taken[nth][0] for nth in newest], [self._taken[nth][3] for nth in newest]
        nans = commit_steps(self._states, held, places, self._tag, following)
        for row, nth in enumerate(newest):
            one, away, count, _ = self._taken[nth]
            if row in nans:
                _give_up(one)
            else:
                away.committed_count = count
        return {held[row].slot for row in nans}

    def _is_newest(self, held: Held, away: Away, count: int) -> bool:
        return self._holders.get(held.slot) is held and held.away is away and count > away.committed_count


class SteppingElsewhere:
    """Data of different streams that are stepped with where their states are: on a device, say.

    stepping = self.begin_steps_elsewhere(messages)
    due = stepping.due(every=10)
    ...                                  # `arrays` are loaded into the slots of `loaded`, and the steps are given
    stepping.made()
    snapshot = stepping.snapshot(due)
    ...
    snapshot.commit(following)           # once they have come back
    """

    __slots__ = (
        "_aways", "_coming", "_given", "_held", "_holders", "_nans", "_states", "_tag", "_where", "arrays", "loaded",
        "messages", "slots", "steps",
    )  # fmt: skip

    def __init__(
        self,
        states: States,
        holders: Mapping[int, Held],
        given: list[Step],
        messages: list[Message],
        held: list[Held],
        coming: list[Place],
        tag: tuple[int, int],
        where: object,
    ) -> None:
        """As `Stepping`; `holders`: who has which slot. `where` the states are."""
        self.messages: Final = messages
        self.steps: Final = [step for step in given if step.kind is not StepKind.SKIP]
        self.slots: Final = [one.slot for one in held]
        """Of each of `messages`: what is kept elsewhere is known by it."""
        self.loaded: Final = [
            nth
            for nth, (one, step) in enumerate(zip(held, self.steps, strict=True))
            if not is_there(one, where) or step.kind is StepKind.RESET
        ]
        """Which of `messages` have their state not there yet, or begin anew."""
        self.arrays: Sequence[Array] = states.gather([self.slots[nth] for nth in self.loaded]) if self.loaded else ()
        """Their states, side by side, in the order of the node's state tensors; written over by the next `begin`."""
        for row, nth in enumerate(self.loaded):
            if self.steps[nth].kind is StepKind.RESET:
                make_initial(states, self.arrays, row)
        self._aways: list[Away | None] = []
        self._nans: Collection[int] = ()
        self._states = states
        self._holders = holders
        self._given = given
        self._held = held
        self._coming = coming
        self._tag = tag
        self._where = where

    def due(self, every: int) -> list[int]:
        """Of which of `messages` a snapshot is to be taken with this step, for one at every so many: of a stream's
        first step here too, so that a later life knows that there was one, and of all that may be done again."""
        if self._is_each(every):
            return list(range(len(self._held)))
        first = set(self.loaded)
        return [nth for nth, one in enumerate(self._held) if nth in first or _steps_behind(one) + 1 >= every]

    def is_awaited(self, every: int) -> bool:
        """Whether it is to be committed before the results of the step are sent: where one is taken at each step, and
        where a stream has none yet."""
        return bool(self._held) and (self._is_each(every) or bool(self.loaded))

    def made(self) -> None:
        """The steps were given: what comes next of these streams comes after them."""
        for nth in self.loaded:
            self._held[nth].away = Away(self._where, is_anew=self.steps[nth].kind is StepKind.RESET)
        for one, place in zip(self._held, self._coming, strict=True):
            assert one.away is not None
            one.away.last = place
            one.away.step_count += 1
            one.is_anew = False
        self._aways = [one.away for one in self._held]

    def snapshot(self, nths: Sequence[int]) -> Snapshot:
        """Of these of `messages`, as they are after the steps that were made."""
        return Snapshot(self._states, self._holders, [self._held[nth] for nth in nths], self._tag)

    def left_none(self, nths: Collection[int]) -> None:
        """The steps of these of `messages` were made, and have left states that are not numbers: what comes next of
        their streams, and was not given yet, is stepped with from what was committed before."""
        self._nans = nths
        for nth in nths:
            one = self._held[nth]
            if one.away is not None and one.away is self._aways[nth]:  # else it has begun again since
                tell_nan(self._states, one, self._coming[nth])
                _give_up(one)

    def results(self, results: Sequence[Any]) -> list[Any]:
        """As `Stepping.results`."""
        return marked(self._given, results, self._nans)

    def _is_each(self, every: int) -> bool:
        return every == 1 or self._tag != NO_TAG


def is_there(held: Held, where: object) -> bool:
    """Whether that is where the stream's state is."""
    return held.away is not None and held.away.where is where


def last_place(held: Held, where: object) -> Place:
    """What the state belongs to that is there, or would be loaded."""
    return held.away.last if held.away is not None and held.away.where is where else held.last


def is_ahead(held: Held, where: object) -> bool:
    """Whether it has made steps there of which no snapshot was taken."""
    return is_there(held, where) and _steps_behind(held) > 0


def _give_up(one: Held) -> None:
    """What was committed is all there is; not even that, where it had begun anew since."""
    away, one.away = one.away, None
    one.is_anew = one.is_anew or (away is not None and away.is_anew and not away.committed_count)


def _steps_behind(held: Held) -> int:
    return 0 if held.away is None else held.away.step_count - held.away.taken_count
