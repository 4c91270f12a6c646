"""A declaration of faults bound to a graph, and the questions that the runtime asks of it; pure.

`elapsed_ns` is time since the start of the run. What happens at an instant is told to the life of the stage that
began before it: a stage that was restarted because it hung does not hang again.

Data are lost or doubled where they are offered to an edge (`copy_count`), not on the wire: ZeroMQ does neither to what
it carries, and a link takes a gap in its numbers for a broken promise. So `network_plan` only delays.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from streamflow.core.graph import EdgeDef, Graph
from streamflow.errors import Fault, PipelineError, WireError
from streamflow.testing.faults import OF_EDGES, OF_SOURCES, Faults, Injection, Kind
from streamflow.transport.memory_socket import Plan
from streamflow.wire.packets import Data, decode
from streamflow.wire.values import Frame


class FaultPlan:
    """Raises PipelineError where a name is none of the graph's. An edge may be named without its ports."""

    def __init__(self, faults: Faults, graph: Graph) -> None:
        self._seed = faults.seed
        self._by_place: dict[tuple[Kind, str], list[Injection]] = {}
        found: list[Fault] = []
        for injection in faults.injections:
            named = _named(injection, graph)
            if isinstance(named, Fault):
                found.append(named)
            else:
                self._by_place.setdefault((named.kind, named.where), []).append(named)
        if found:
            raise PipelineError(found)

    # ------------------------------------------------------------------------------- of stages

    def service_ns(self, stage: str, seq: int, elapsed_ns: int) -> int:
        """How much longer the handling that begins now takes."""
        return sum(injection.by_ns for injection in self._covering(Kind.SLOW, stage, seq, elapsed_ns))

    def hangs(self, stage: str, seq: int, elapsed_ns: int, *, alive_since_ns: int = 0) -> bool:
        """Whether the handling that begins now never returns; `alive_since_ns`: when this life of the stage began."""
        return any(
            injection.seqs is not None or alive_since_ns <= injection.from_ns
            for injection in self._covering(Kind.HANG, stage, seq, elapsed_ns)
        )

    def crashes(self, stage: str, seq: int) -> bool:
        """Whether the stage's process dies while it handles this datum."""
        of_data = (crash.seqs for crash in self._of(Kind.CRASH, stage) if crash.seqs is not None)
        return any(seq in seqs for seqs in of_data)

    def crash_instants_ns(self, stage: str) -> list[int]:
        """When the stage's process dies, whatever it does, in order."""
        return sorted(crash.from_ns for crash in self._of(Kind.CRASH, stage) if crash.seqs is None)

    def stalls_ns(self, stage: str) -> list[tuple[int, int]]:
        """(instant, duration) of each standstill of the stage's process, in order."""
        return sorted((stall.from_ns, stall.by_ns) for stall in self._of(Kind.STALL, stage))

    # ------------------------------------------------------------------------------ of sources

    def late_ns(self, source: str, seq: int, elapsed_ns: int) -> int:
        """How much later a datum is made that is due now."""
        return sum(injection.by_ns for injection in self._covering(Kind.LATE, source, seq, elapsed_ns))

    def wall_offset_ns(self, source: str, elapsed_ns: int) -> int:
        """How far the sensor's wall clock is from where it was at the start."""
        return sum(injection.by_ns for injection in self._covering(Kind.CLOCK_STEP, source, 0, elapsed_ns))

    # -------------------------------------------------------------------------------- of edges

    def copy_count(self, edge: str, seq: int, elapsed_ns: int) -> int:
        """How often an edge carries a datum that is offered to it: 1 but for faults, 0 where it is lost."""
        if any(self._is_picked(drop, seq) for drop in self._covering(Kind.DROP, edge, seq, elapsed_ns)):
            return 0
        doubles = self._covering(Kind.DUPLICATE, edge, seq, elapsed_ns)
        return 1 + sum(self._is_picked(double, seq) for double in doubles)

    def delay_ns(self, edge: str, seq: int, elapsed_ns: int) -> int:
        """How much longer a datum that leaves now is under way."""
        return sum(injection.by_ns for injection in self._covering(Kind.DELAY, edge, seq, elapsed_ns))

    def network_plan(self, edge_of: Callable[[str], str | None], started_ns: Callable[[], int]) -> Plan:
        """What `MemoryNetwork` asks: delays of data, by the name of the edge whose receiver is bound to an endpoint.

        `started_ns` is the instant at which the run began, 0 until then.
        """

        def plan(endpoint: str, frames: Sequence[Frame], now_ns: int) -> Sequence[int]:
            edge, start_ns = edge_of(endpoint), started_ns()
            if edge is None or not start_ns or not self._of(Kind.DELAY, edge):
                return (now_ns,)
            try:
                packet = decode(frames)
            except WireError:
                return (now_ns,)  # whoever reads it says what is wrong with it
            if not isinstance(packet, Data):
                return (now_ns,)
            return (now_ns + self.delay_ns(edge, packet.message.seq, now_ns - start_ns),)

        return plan

    # ------------------------------------------------------------------------------------ parts

    def _of(self, kind: Kind, where: str) -> Sequence[Injection]:
        return self._by_place.get((kind, where), ())

    def _covering(self, kind: Kind, where: str, seq: int, elapsed_ns: int) -> Iterator[Injection]:
        return (injection for injection in self._of(kind, where) if injection.covers(seq, elapsed_ns))

    def _is_picked(self, injection: Injection, seq: int) -> bool:
        """Whether a datum is of the share; the same for everyone who asks, in whatever order."""
        if injection.share == 1.0:
            return True
        return Random(f"{self._seed} {injection.kind.value} {injection.where} {seq}").random() < injection.share


def _named(injection: Injection, graph: Graph) -> Injection | Fault:
    """The injection with the full name of its place, or what is wrong with the name."""
    subject = f"{injection.kind.value}({injection.where!r})"
    if injection.kind in OF_EDGES:
        edges = [edge.name for edge in graph.edges if injection.where in _spellings(edge)]
        if len(edges) == 1:
            return replace(injection, where=edges[0])
        if edges:
            return Fault(subject, f"{len(edges)} edges", f"one of {', '.join(edges)}")
        names = {spelling: edge.name for edge in graph.edges for spelling in _spellings(edge)}
        return _unknown(subject, "edge", injection.where, names)
    names = {stage.name: stage.name for stage in graph.stages}
    if injection.where not in names:
        return _unknown(subject, "stage", injection.where, names)
    if injection.kind in OF_SOURCES and not graph.stage(injection.where).is_source:
        sources = [stage.name for stage in graph.stages if stage.is_source]
        return Fault(subject, f"{injection.where} is no source", f"one of {', '.join(sources)}")
    return injection


def _spellings(edge: EdgeDef) -> list[str]:
    """With its ports, or without one or both of them."""
    source, _, target = edge.name.partition("->")
    return [edge.name, f"{source}->{edge.target}", f"{edge.source}->{target}", f"{edge.source}->{edge.target}"]


def _unknown(subject: str, what: str, name: str, names: dict[str, str]) -> Fault:
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else ""
    return Fault(subject, f"no {what} {name}", f"one of {', '.join(dict.fromkeys(names.values()))}", hint)
