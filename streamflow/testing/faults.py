"""What goes wrong in a test run, and when: declared beforehand, the same in every run, and readable when a seed fails.

    Faults().slow("infer", by=20 * ms, from_s=1, until_s=2).crash("decode", at_s=1.5).drop("mic->infer", seqs=[7])

Seconds are of the run, from its start; durations are nanoseconds; a seq is the number that the datum's source gave
it. `fault_plan` binds a declaration to a graph and answers what the runtime asks. Nothing here waits or is by chance:
a share of the data is always the same share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import TypedDict, Unpack

from streamflow.core.graph import Graph
from streamflow.core.timebase import ms, nanoseconds, ns, s, seconds, us
from streamflow.errors import Fault


class Kind(Enum):
    """What can go wrong; the value is the method of `Faults` that declares it."""

    SLOW = "slow"
    HANG = "hang"
    CRASH = "crash"
    STALL = "stall"
    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    CLOCK_STEP = "clock_step"
    LATE = "late"


OF_EDGES = frozenset({Kind.DROP, Kind.DELAY, Kind.DUPLICATE})
OF_SOURCES = frozenset({Kind.CLOCK_STEP, Kind.LATE})


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault: data of `seqs` (None: all) handled from `from_ns` until before `until_ns` (None: ever after).

    What happens at an instant has that as its `from_ns`. `by_ns` is how much: of service, delay, step, or standstill.
    """

    kind: Kind
    where: str
    by_ns: int = 0
    from_ns: int = 0
    until_ns: int | None = None
    seqs: tuple[int, ...] | range | None = None
    share: float = 1.0

    def __str__(self) -> str:
        """As it was declared."""
        words = [repr(self.where)]
        if self.kind is Kind.STALL:
            words += [f"at_s={seconds(self.from_ns)}", f"for_={_duration(self.by_ns)}"]
        elif self.kind is Kind.CLOCK_STEP:
            words += [f"by={_duration(self.by_ns)}", f"at_s={seconds(self.from_ns)}"]
        elif self.kind in (Kind.HANG, Kind.CRASH):
            words.append(f"at_s={seconds(self.from_ns)}" if self.seqs is None else f"seq={self.seqs[0]}")
        else:
            words += [f"by={_duration(self.by_ns)}"] if self.by_ns else []
            words += [f"from_s={seconds(self.from_ns)}"] if self.from_ns else []
            words += [f"until_s={seconds(self.until_ns)}"] if self.until_ns is not None else []
            words += [f"seqs={self.seqs!r}"] if self.seqs is not None else []
            words += [f"share={self.share}"] if self.share != 1.0 else []
        return f"{self.kind.value}({', '.join(words)})"

    def covers(self, seq: int, elapsed_ns: int) -> bool:
        """Whether a datum that is handled at this instant of the run is one of those meant, whatever the share."""
        is_then = self.from_ns <= elapsed_ns and (self.until_ns is None or elapsed_ns < self.until_ns)
        return is_then and (self.seqs is None or seq in self.seqs)


class Which(TypedDict, total=False):
    """The data that a fault is about: all of the run, or those of a span of it, of some numbers, or of both."""

    from_s: float
    until_s: float | None
    seqs: Iterable[int] | None


@dataclass(repr=False)
class Faults:
    """The declaration; each method adds to it and returns it. Values are checked here, names by `fault_plan`."""

    seed: int = 0
    """Picks the data where only a share of them is meant."""
    injections: list[Injection] = field(default_factory=list)

    def __repr__(self) -> str:
        """Text to paste into a test."""
        head = f"Faults(seed={self.seed})" if self.seed else "Faults()"
        lines = [head, *(f"    .{injection}" for injection in self.injections)]
        return lines[0] if len(lines) == 1 else "(\n    {}\n)".format("\n".join(lines))

    def slow(self, stage: str, *, by: int, **which: Unpack[Which]) -> Faults:
        """Handling a datum takes longer."""
        return self._add(Kind.SLOW, stage, which, by=by)

    def hang(self, stage: str, *, at_s: float | None = None, seq: int | None = None) -> Faults:
        """The first handling from then on, or that of one datum, never returns."""
        return self._add_once(Kind.HANG, stage, at_s, seq)

    def crash(self, stage: str, *, at_s: float | None = None, seq: int | None = None) -> Faults:
        """The stage's process dies at once, as by SIGKILL: then, or while it handles one datum."""
        return self._add_once(Kind.CRASH, stage, at_s, seq)

    def stall(self, stage: str, *, at_s: float, for_: int) -> Faults:
        """The loop of the stage's process stands still, as by a collection of garbage, and then goes on."""
        return self._add(Kind.STALL, stage, {"from_s": at_s}, by=for_, by_name="for_")

    def drop(self, edge: str, *, share: float = 1.0, **which: Unpack[Which]) -> Faults:
        """Data never reach the other end of an edge."""
        return self._add(Kind.DROP, edge, which, share=share)

    def delay(self, edge: str, *, by: int, **which: Unpack[Which]) -> Faults:
        """Data are longer under way; those behind them wait, for an edge keeps its order."""
        return self._add(Kind.DELAY, edge, which, by=by)

    def duplicate(self, edge: str, *, share: float = 1.0, **which: Unpack[Which]) -> Faults:
        """Data go over an edge twice."""
        return self._add(Kind.DUPLICATE, edge, which, share=share)

    def clock_step(self, source: str, *, by: int, at_s: float) -> Faults:
        """The wall clock by which the sensor stamps its samples is set, forward or back."""
        if by == 0:
            raise Fault(_subject(Kind.CLOCK_STEP, source), "by=0", "a step forward or back")
        return self._add(Kind.CLOCK_STEP, source, {"from_s": at_s}, by=by, is_signed=True)

    def late(self, source: str, *, by: int, **which: Unpack[Which]) -> Faults:
        """A source makes its data later than they are due; their event times stay."""
        return self._add(Kind.LATE, source, which, by=by)

    def _add_once(self, kind: Kind, stage: str, at_s: float | None, seq: int | None) -> Faults:
        if (at_s is None) == (seq is None):
            found = "neither at_s nor seq" if at_s is None else "both at_s and seq"
            raise Fault(_subject(kind, stage), found, "one of them")
        return self._add(kind, stage, {"from_s": at_s or 0, "seqs": None if seq is None else [seq]})

    def _add(
        self,
        kind: Kind,
        where: str,
        which: Which,
        *,
        by: int | None = None,
        by_name: str = "by",
        is_signed: bool = False,
        share: float = 1.0,
    ) -> Faults:
        subject = _subject(kind, where)
        if by is not None and (not isinstance(by, int) or (by <= 0 and not is_signed)):
            raise Fault(subject, f"{by_name}={by}", "whole nanoseconds, more than 0", "durations are written 20 * ms")
        if not 0 < share <= 1:
            raise Fault(subject, f"share={share}", "more than 0, at most 1")
        from_ns, until_ns, seqs = _bounds(subject, **which)
        self.injections.append(Injection(kind, where, by or 0, from_ns, until_ns, seqs, share))
        return self

    @classmethod
    def random(
        cls,
        graph: Graph,
        seed: int,
        duration_s: float,
        *,
        kinds: Collection[Kind] = tuple(Kind),
        fault_count: int | None = None,
    ) -> Faults:
        """A plan for a simulation: `fault_count` faults (None: 1 to 6) of these kinds, anywhere in the graph."""
        chance = Random(seed)
        faults = cls(seed)
        places = {kind: _places(graph, kind) for kind in kinds}
        possible = [kind for kind in Kind if places.get(kind)]
        for _ in range(chance.randint(1, 6) if fault_count is None else fault_count):
            if possible:
                kind = chance.choice(possible)
                _declare(faults, kind, chance.choice(places[kind]), chance, duration_s)
        return faults


def _bounds(
    subject: str, *, from_s: float = 0, until_s: float | None = None, seqs: Iterable[int] | None = None
) -> tuple[int, int | None, tuple[int, ...] | range | None]:
    if not from_s >= 0 or from_s == float("inf"):
        raise Fault(subject, f"{from_s} s", "an instant of the run, from 0 s on")
    if until_s is not None and not until_s > from_s:
        raise Fault(subject, f"until_s={until_s}", f"later than {from_s} s")
    if seqs is not None:
        seqs = seqs if isinstance(seqs, range) else tuple(sorted(set(seqs)))
        if not seqs or min(seqs) < 0:
            raise Fault(subject, f"seqs={seqs!r}", "numbers of data, from 0 on")
    return nanoseconds(from_s), None if until_s is None else nanoseconds(until_s), seqs


def _places(graph: Graph, kind: Kind) -> list[str]:
    if kind in OF_EDGES:
        return [edge.name for edge in graph.edges]
    return [stage.name for stage in graph.stages if stage.is_source or kind not in OF_SOURCES]


def _declare(faults: Faults, kind: Kind, where: str, chance: Random, duration_s: float) -> None:
    at_s = round(chance.uniform(0, duration_s), 3)
    until_s = round(at_s + chance.uniform(0.01, max(0.02, duration_s / 2)), 3)
    brief = chance.randint(1, 100) * ms
    match kind:
        case Kind.SLOW:
            faults.slow(where, by=brief // 2, from_s=at_s, until_s=until_s)
        case Kind.HANG:
            faults.hang(where, at_s=at_s)
        case Kind.CRASH:
            faults.crash(where, at_s=at_s)
        case Kind.STALL:
            faults.stall(where, at_s=at_s, for_=5 * brief)
        case Kind.DROP:
            faults.drop(where, share=round(chance.uniform(0.05, 0.5), 2), from_s=at_s, until_s=until_s)
        case Kind.DELAY:
            faults.delay(where, by=brief, from_s=at_s, until_s=until_s)
        case Kind.DUPLICATE:
            faults.duplicate(where, share=round(chance.uniform(0.05, 0.5), 2), from_s=at_s, until_s=until_s)
        case Kind.CLOCK_STEP:
            faults.clock_step(where, by=chance.choice([-1, 1]) * brief * 100, at_s=at_s)
        case Kind.LATE:
            faults.late(where, by=brief, from_s=at_s, until_s=until_s)


def _subject(kind: Kind, where: str) -> str:
    return f"{kind.value}({where!r})"


def _duration(duration_ns: int) -> str:
    unit, name = next((unit, name) for unit, name in _UNITS if duration_ns % unit == 0)
    return f"{duration_ns // unit} * {name}"


_UNITS = ((s, "s"), (ms, "ms"), (us, "us"), (ns, "ns"))
