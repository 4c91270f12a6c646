"""A row from what each input has for it: bounds of age and skew, what is missing, and what was used before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple

from streamflow.core.joins.contract import InputState, Join, OnMissing, Part, Row, T
from streamflow.core.joins.inputs import Entry


class Choice(NamedTuple, Generic[T]):
    """What an input has for a row: entries, oldest first, whose value is that of `time_ns`; `weight` as in `Part`.

    `since_ns`: from when on its age counts.
    """

    entries: tuple[Entry[T], ...]
    time_ns: int
    since_ns: int
    weight: float = 0.0


def single(entry: Entry[T]) -> Choice[T]:
    """One datum as it is."""
    return Choice((entry,), entry.time_ns, entry.time_ns)


class Assembly(Generic[T]):
    """Of one join; remembers what each input handed over last."""

    def __init__(self, settings: Join, inputs: Sequence[str], *, trigger: str = "") -> None:
        """`trigger`: the input that every row has, and its name from."""
        self._inputs = inputs
        self._trigger = trigger
        self._on_missing = settings.on_missing
        self._needs_all = settings.on_missing in (OnMissing.SKIP, OnMissing.HOLD)
        self._max_skew_ns = settings.max_skew
        self._max_age_ns = {name: settings.max_age_ns(name) for name in inputs}
        self._last: dict[str, Entry[T]] = {}

    def row(self, time_ns: int, choices: Mapping[str, Choice[T] | None], *, timed_out: bool = False) -> Row[T] | None:
        """None where an input is missing that may not be; then nothing of `choices` is used."""
        taken = self._within_bounds(choices, time_ns)
        if not taken or (len(taken) < len(self._inputs) and self._needs_all):
            return None
        times = [choice.time_ns for choice in taken.values()]
        row: Row[T] = Row(time_ns, {}, {}, [], max(times) - min(times), timed_out)
        if self._trigger in taken:
            row.fresh[self._trigger] = taken[self._trigger].entries[-1].item  # first, as the row has its name
        for name in self._inputs:
            choice = taken.get(name)
            if choice is None:
                newest = choices.get(name) or (single(self._last[name]) if name in self._last else None)
                row.parts[name] = Part(InputState.MISSING) if newest is None else self._stale(row, newest)
            else:
                row.parts[name] = self._part(row, name, choice)
        return row

    @staticmethod
    def _stale(row: Row[T], newest: Choice[T]) -> Part[T]:
        """What it has is outside of the bounds: how old that is, and not what."""
        return Part(InputState.STALE, (), max(row.time_ns - newest.since_ns, 0))

    def _part(self, row: Row[T], name: str, choice: Choice[T]) -> Part[T]:
        entries = choice.entries
        state = InputState.HELD
        for entry in reversed(entries):
            if entry.is_used:
                continue
            entry.is_used = True
            if state is InputState.HELD:
                state = InputState.USED
                row.fresh[name] = entry.item
            else:
                row.consumed.append((name, entry.item))
        self._last[name] = entries[-1]
        age_ns = row.time_ns - choice.since_ns
        return Part(state, tuple([entry.item for entry in entries]), age_ns if age_ns > 0 else 0, choice.weight)

    def _within_bounds(self, choices: Mapping[str, Choice[T] | None], time_ns: int) -> dict[str, Choice[T]]:
        """What may be handed over."""
        taken: dict[str, Choice[T]] = {}
        for name in self._inputs:
            choice = choices.get(name)
            if choice is None and self._on_missing is OnMissing.HOLD and name in self._last:
                choice = single(self._last[name])
            max_age_ns = self._max_age_ns[name]
            if choice is not None and (max_age_ns is None or time_ns - choice.since_ns <= max_age_ns):
                taken[name] = choice
        while self._max_skew_ns is not None and len(taken) > 1:
            times = [choice.time_ns for choice in taken.values()]
            if max(times) - min(times) <= self._max_skew_ns:
                break
            away_ns = {name: abs(each.time_ns - time_ns) for name, each in taken.items() if name != self._trigger}
            del taken[max(away_ns, key=away_ns.__getitem__)]
        return taken
