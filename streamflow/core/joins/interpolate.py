"""The interpolating join: the value of every input at the same instant, between the two data around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from streamflow.core.joins.assembly import Choice, single
from streamflow.core.joins.contract import Decider, Join, T
from streamflow.core.joins.inputs import FOREVER, Entry, Input
from streamflow.core.joins.timeline import Reach, Timeline


class Blend(Enum):
    """How a value between two data is made."""

    LINEAR = "linear"
    """On the line between the two."""
    HOLD = "hold"
    """The older of the two."""
    SLERP = "slerp"
    """On the great circle between two quaternions, along the last axis; for orientations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolate(Join):
    """Rows at each datum of `trigger`, which comes as it is, or at each multiple of `every`.

    `blend`: of all inputs, or of those named (others: LINEAR). A value needs a datum at or after its instant, so it
    comes up to a period later; where none has come in time the last two are carried on, `max_extrapolate` ns at most.
    `max_skew` bounds how far off either of the two may be: across a longer gap there is no value.
    """

    trigger: str = ""
    every: int | None = None
    blend: Blend | Mapping[str, Blend] = Blend.LINEAR
    max_extrapolate: int = 0

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        return InterpolatingJoin(self, inputs, trigger=self.trigger, period_ns=0 if self.trigger else self.every or 0)

    def blend_of(self, name: str) -> Blend:
        return self.blend if isinstance(self.blend, Blend) else self.blend.get(name, Blend.LINEAR)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        found = [*Join.faults(self, inputs), *self.rhythm_faults(self.trigger, self.every, inputs)]
        if type(self.max_extrapolate) is not int or self.max_extrapolate < 0:
            found.append(f"max_extrapolate {self.max_extrapolate!r}, expected whole nanoseconds")
        blends = self.blend if isinstance(self.blend, Mapping) else {"": self.blend}
        for name, blend in blends.items():
            if name:
                found += self.input_fault("blend", name, inputs)
            if not isinstance(blend, Blend):
                found.append(f"blend {blend!r}, expected one of {', '.join(f'Blend.{one.name}' for one in Blend)}")
        return found


class InterpolatingJoin(Timeline[T]):
    _settings: Interpolate

    def knows(self, one: Input[T], time_ns: int) -> bool:
        if one.entries and one.entries[-1].time_ns >= time_ns:
            return True
        if self._settings.blend_of(one.name) is Blend.HOLD:
            return one.has_passed(time_ns)
        max_skew_ns = self._settings.max_skew
        return one.has_passed(FOREVER if max_skew_ns is None else time_ns + max_skew_ns)

    def reach_ns(self) -> Reach | None:
        max_skew_ns = self._settings.max_skew
        return None if max_skew_ns is None else Reach(max_skew_ns, max_skew_ns)

    def choose(self, one: Input[T], time_ns: int) -> Choice[T] | None:
        before, after = _around(one, time_ns)
        max_skew_ns = self._settings.max_skew
        if max_skew_ns is not None:
            before = None if before is not None and time_ns - before.time_ns > max_skew_ns else before
            after = None if after is not None and after.time_ns - time_ns > max_skew_ns else after
        if before is None:
            return None
        if before.time_ns == time_ns or self._settings.blend_of(one.name) is Blend.HOLD:
            return single(before)
        if after is not None:
            return _between(before, after, time_ns)
        if time_ns - before.time_ns > self._settings.max_extrapolate:
            return None
        earlier = _before(one, before)
        return _between(earlier, before, time_ns) if earlier is not None else single(before)

    def retire(self, one: Input[T], time_ns: int, choice: Choice[T] | None) -> None:
        """The last up to the moment stays, for the next value lies after it; and the one before, to carry on from."""
        before, after = _around(one, time_ns)
        if before is not None:
            keep = before if after is not None or not self._settings.max_extrapolate else _before(one, before)
            one.leave_before(keep or before, time_ns)


def _around(one: Input[T], time_ns: int) -> tuple[Entry[T] | None, Entry[T] | None]:
    """The last entry up to the instant, and the first after it."""
    after = None
    for entry in reversed(one.entries):
        if entry.time_ns <= time_ns:
            return entry, after
        after = entry
    return None, after


def _before(one: Input[T], entry: Entry[T]) -> Entry[T] | None:
    earlier = None
    for each in one.entries:
        if each is entry:
            break
        earlier = each
    return earlier


def _between(first: Entry[T], second: Entry[T], time_ns: int) -> Choice[T]:
    """The value at the instant on the way from one to the other, which goes on behind it."""
    weight = (time_ns - first.time_ns) / (second.time_ns - first.time_ns)
    return Choice((first, second), time_ns, min(first.time_ns, time_ns), weight)
