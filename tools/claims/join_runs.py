"""A join at work on data whose arrivals are known, checked against what every join promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamflow.core.joins.contract import Decider, InputState, Join, LeftOut, OnMissing, Row


class Datum(NamedTuple):
    input: str
    event_time_ns: int
    number: int = 0


class Arrival(NamedTuple):
    at_ns: int
    datum: Datum


@dataclass
class Outcome:
    """`rows`: each with the instant at which it came."""

    rows: list[tuple[int, Row[Datum]]] = field(default_factory=list)
    left_out: list[LeftOut[Datum]] = field(default_factory=list)

    @property
    def times(self) -> list[dict[str, tuple[int, ...]]]:
        """Event times of the parts of each row."""
        return [
            {name: tuple(item.event_time_ns for item in part.items) for name, part in row.parts.items()}
            for _, row in self.rows
        ]

    @property
    def singles(self) -> list[tuple[int, ...]]:
        """The same where each part is one datum; -1 is none."""
        return [tuple(part[0] if part else -1 for part in row.values()) for row in self.times]

    @property
    def reasons(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for name, _, reason in self.left_out:
            found.setdefault(name, Counter())[reason.value] += 1
        return found


def run(join: Join, inputs: Sequence[str], arrivals: Iterable[Arrival], *, ends: bool = True) -> Outcome:
    """As a stage would: it asks when something has come, and when the join wants to be asked."""
    decider: Decider[Datum] = join.decider(inputs)
    outcome = Outcome()
    offered = []

    def ask(now_ns: int) -> None:
        while (row := decider.ready(now_ns)) is not None:
            outcome.rows.append((now_ns, row))
        outcome.left_out += decider.left_out()
        wake_ns = decider.wake_ns()
        assert wake_ns is None or wake_ns > now_ns

    def ask_until(now_ns: int) -> None:
        for _ in range(100_000):
            wake_ns = decider.wake_ns()
            if wake_ns is None or wake_ns >= now_ns:
                return
            ask(wake_ns)
        raise AssertionError("it wants to be asked again and again")

    now_ns = 0
    for at_ns, datum in arrivals:
        ask_until(at_ns)
        now_ns = at_ns
        offered.append(datum)
        decider.offer(datum.input, datum, now_ns)
        ask(now_ns)
    if not ends and join.max_wait is not None:
        ask_until(now_ns + join.max_wait + 1)
    if ends:
        for name in inputs:
            decider.end(name, now_ns)
            ask(now_ns)
        check(join, inputs, offered, outcome)
    return outcome


def check(join: Join, inputs: Sequence[str], offered: Sequence[Datum], outcome: Outcome) -> None:
    """What every join promises, whatever came."""
    ends = Counter(one.item for one in outcome.left_out)
    for _, row in outcome.rows:
        ends.update(row.fresh.values())
        ends.update(item for _, item in row.consumed)
    assert ends == Counter(offered), "each datum is in one row as fresh, consumed by one, or left out"
    assert all(one.item.input == one.input for one in outcome.left_out)
    seen: set[Datum] = set()
    for _, row in outcome.rows:
        assert list(row.parts) == list(inputs)
        for name, part in row.parts.items():
            max_age_ns = join.max_age_ns(name)
            assert all(item.input == name for item in part.items)
            if not part.items:
                assert part.state in (InputState.STALE, InputState.MISSING)
                assert (part.age_ns is None) == (part.state is InputState.MISSING)
                assert join.on_missing in (OnMissing.PARTIAL, OnMissing.FAIL)
                continue
            assert part.state is (InputState.USED if set(part.items) - seen else InputState.HELD)
            assert (name in row.fresh) == (part.state is InputState.USED)
            assert part.age_ns is not None
            assert part.age_ns >= 0
            assert max_age_ns is None or part.age_ns <= max_age_ns
        seen.update(item for part in row.parts.values() for item in part.items)
        assert join.max_skew is None or row.skew_ns <= join.max_skew
