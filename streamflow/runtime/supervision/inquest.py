"""Who ate the time of a datum: its journey is put together from the recorders, and `core.blame` judges.

Looks only when there is a miss, and only at what was recorded around it. What was overwritten meanwhile is unknown,
and shows as a wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamflow.core.blame import Blame, blame
from streamflow.core.budget import Budgets
from streamflow.core.graph import EdgeDef, Graph
from streamflow.core.journey import NOT_DONE, Blocked, Doings, Down, Drop, Hop, Journey, Service, Stall
from streamflow.core.paths import Paths
from streamflow.core.timebase import ms
from streamflow.core.verdict import WORK, Kind
from streamflow.recorder import layout
from streamflow.recorder.counts import Live
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record
from streamflow.runtime.accounts.tables import HELD_BACK
from streamflow.runtime.stage.looplag import BEAT_NS, STALL_LIMIT_NS, stall_began_ns

NO_DATUM = (-2, -2)
LOOK_BACK_NS = 300 * ms  # before the event: what a queue was left by


class _Flight(NamedTuple):
    """A batch that a device has: when the stage began to make it, when it gave it, and (stream, seq) of its data."""

    started_ns: int
    given_ns: int
    data: list[tuple[int, int]]


class Inquest:
    """Over the recorders of a run. `down_since` tells which stages have no process now, and since when."""

    def __init__(self, graph: Graph, paths: Paths, recordings: Mapping[str, Recording]) -> None:
        self._graph = graph
        self._paths = paths
        self._recordings = recordings
        self._names = [stage.name for stage in graph.stages]
        self._windows: dict[str, tuple[int, int, list[Record]]] = {}
        self._last_down: dict[str, Down] = {}
        self._lost_devices: dict[str, tuple[int, str]] = {}  # of stages that go down for it, or are down; since when
        self._downs_by_device: dict[tuple[str, int], str] = {}
        self._cut_short: dict[str, list[Service]] = {}  # what a life was at when it ended, which nobody has recorded
        self.down_since: dict[str, int] = {}

    def lost_device(self, stage: str, device: str, now_ns: int) -> None:
        """Its process is about to end for that; what waits for it from now on, waits for the device."""
        self._lost_devices[stage] = now_ns, device

    def went_down(self, stage: str, now_ns: int) -> None:
        """Its process has ended, in the midst of what it was at."""
        self.down_since[stage] = now_ns
        if stage in self._recordings:
            left = [one._replace(ended_ns=one.ended_ns or now_ns) for one in self._under_way(stage)]
            self._cut_short[stage] = [one for one in left if one.started_ns < now_ns]

    def came_back(self, stage: str, now_ns: int) -> None:
        """It goes to work again; until its new life writes something, what the former one wrote last is old."""
        since_ns = self.down_since.pop(stage, None)
        if since_ns is not None:
            lost_ns, device = self._lost_devices.pop(stage, (since_ns, ""))
            self._last_down[stage] = Down(lost_ns, now_ns, device)
            if device:
                self._downs_by_device[stage, since_ns] = device

    def judge(self, path: int, stream: int, seq: int, event_time_ns: int, until_ns: int, budgets: Budgets) -> Blame:
        """The blame for the time of a datum on a path from its event to `until_ns`."""
        definition = self._paths.definitions[path]
        since_ns = event_time_ns - LOOK_BACK_NS
        found = {
            stage: [one for one in self._window(stage, since_ns, until_ns) if one.seq == seq and one.stream == stream]
            for stage in self._paths.route(path)
            if stage in self._recordings
        }
        admitted = next((one for one in found.get(definition.source, ()) if one.kind == Kind.ADMITTED), None)
        hops = self._hops(path, stream, seq, found, admitted)
        journey = Journey(
            source=definition.source,
            event_time_ns=event_time_ns,
            deadline_ns=event_time_ns + (definition.within_ns or 0),
            until_ns=until_ns,
            sent_ns=admitted.started_ns if admitted is not None else hops[0].sent_ns if hops else None,
            hops=hops,
            doings=self._all_doings([definition.source, *(hop.stage for hop in hops)], stream, seq, since_ns, until_ns),
            drops=self._drops(path, found),
        )
        return blame(journey, budgets)

    def _window(self, stage: str, since_ns: int, until_ns: int) -> list[Record]:
        """What the stage has recorded of that time, or of more before it; read once for all misses of an instant."""
        known = self._windows.get(stage)
        if known is not None and known[0] == until_ns and known[1] <= since_ns:
            return known[2]
        records = self._recordings[stage].between(since_ns, until_ns)
        self._windows[stage] = until_ns, since_ns, records
        return records

    def _hops(
        self,
        path: int,
        stream: int,
        seq: int,
        found: Mapping[str, Sequence[Record]],
        admitted: Record | None,
    ) -> list[Hop]:
        """From the source on, at each stage by the edge on which the datum is furthest behind."""
        definition = self._paths.definitions[path]
        edges = [edge for edge in self._graph.edges if edge.name in self._paths.edges(path)]
        hops: list[Hop] = []
        here = definition.source
        left_ns = admitted.started_ns if admitted is not None else None
        while here != definition.sink:
            onward = [self._hop(edge, stream, seq, found, left_ns) for edge in edges if edge.source == here]
            known = [hop for hop in onward if hop is not None]
            if not known:
                break
            hop = min(known, key=lambda one: (one.ended_ns is not None, one.started_ns is not None, -one.sent_ns))
            hops.append(hop)
            if hop.ended_ns is None or hop.device_done_ns == NOT_DONE:
                break
            here, left_ns = hop.stage, hop.device_done_ns or hop.ended_ns
        return hops

    def _hop(
        self, edge: EdgeDef, stream: int, seq: int, found: Mapping[str, Sequence[Record]], left_ns: int | None
    ) -> Hop | None:
        stage = edge.target
        is_sink = not self._graph.forward.edges_from(stage)
        record = next((one for one in found.get(stage, ()) if one.kind in WORK or one.kind == Kind.SHED), None)
        given_ns = 0
        if record is None and stage in self._recordings:
            given_ns = self._recordings[stage].word(layout.GIVEN_NS)
            record = self._recordings[stage].in_service()
            if record is not None and (record.stream, record.seq) != (stream, seq):
                record = None
        if record is None:
            return None if left_ns is None else self._hop_in_progress(edge, (stream, seq), left_ns, is_sink=is_sink)
        is_on_device = not record.ended_ns and given_ns >= record.started_ns > 0
        return Hop(
            stage,
            edge.name,
            record.sent_ns,
            record.enqueued_ns or None,
            record.started_ns,
            given_ns if is_on_device else record.ended_ns or None,
            record.blocked_ns,
            NOT_DONE if is_on_device else record.device_done_ns,
            record.batch,
            is_sink,
        )

    def _hop_in_progress(self, edge: EdgeDef, datum: tuple[int, int], left_ns: int, *, is_sink: bool) -> Hop:
        """Of a datum that is on its way, held back, or on a device: when it came is not written down."""
        stage = edge.target
        flight = next((one for one in self._flights(stage) if datum in one.data), None)
        if flight is not None:
            size, given_ns = len(flight.data), flight.given_ns
            return Hop(stage, edge.name, left_ns, left_ns, flight.started_ns, given_ns, 0, NOT_DONE, size, is_sink)
        is_held_back = any(datum in one.origins for one in self._held_back(stage))
        return Hop(stage, edge.name, left_ns, left_ns if is_held_back else None, is_sink=is_sink)

    def _held_back(self, stage: str) -> list[Live]:
        """What the stage's batches hold back."""
        recording = self._recordings.get(stage)
        if recording is None or self._graph.stage(stage).batch is None:
            return []
        return recording.live([name for name, _ in recording.shape.out_edges].index(HELD_BACK))

    def _flights(self, stage: str) -> list[_Flight]:
        """The batches that the stage's device has, the oldest first."""
        recording = self._recordings.get(stage)
        if recording is None or not recording.given_ns:
            return []
        held, found = self._held_back(stage), []
        for place in range(layout.FLIGHT_WORDS):
            given_ns = recording.word(layout.FLIGHT_GIVEN_NS + place)
            data = [origin for one in held if one.nth == place + 1 for origin in one.origins]
            if given_ns and data:
                found.append(_Flight(recording.word(layout.FLIGHT_STARTED_NS + place), given_ns, data))
        return sorted(found, key=lambda flight: flight.given_ns)

    def _all_doings(
        self, stages: Sequence[str], stream: int, seq: int, since_ns: int, until_ns: int
    ) -> dict[str, Doings]:
        """Of these stages, and of all that they waited for."""
        found: dict[str, Doings] = {}
        wanted = [*stages]
        while wanted:
            stage = wanted.pop()
            if stage in self._recordings and stage not in found:
                found[stage] = doings = self._doings(stage, stream, seq, since_ns, until_ns)
                wanted += [wait.stage for wait in doings.blocked]
        return found

    def _doings(self, stage: str, stream: int, seq: int, since_ns: int, until_ns: int) -> Doings:
        recording = self._recordings[stage]
        services: list[Service] = []
        on_device: list[Service] = []
        stalls: list[Stall] = []
        downs: list[Down] = []
        alive_ns = beat_ns = recording.word(layout.BEAT_NS)
        for one in self._window(stage, since_ns, until_ns):
            if one.kind in WORK and one.ended_ns > alive_ns:
                alive_ns = one.ended_ns
            if one.kind in WORK and (one.stream, one.seq) != (stream, seq) and one.ended_ns > one.started_ns:
                if one.batch > 1 and services and services[-1].started_ns == one.started_ns:
                    services.pop()  # a batch is one piece of work, as long as its last datum says
                services.append(Service(one.started_ns, one.ended_ns, self._name(one.stream), one.seq))
                if one.device_done_ns:
                    _append(on_device, one.ended_ns, one.device_done_ns, self._name(one.stream), one.seq)
            elif one.kind == Kind.STALL:
                stalls.append(Stall(one.started_ns, one.ended_ns, bool(one.flags & 1)))
            elif one.kind == Kind.RESTARTED:
                device = self._downs_by_device.get((stage, one.started_ns), "")
                downs.append(Down(one.started_ns, one.ended_ns, device))
        working_on = recording.in_service()
        under_way = self._under_way(stage, (stream, seq))
        if under_way and services and services[-1].started_ns == under_way[0].started_ns:
            services.pop()  # of the same batch
        services += under_way
        if stage not in self.down_since:
            services += self._cut_short.get(stage, ())
        down = self._last_down.get(stage)
        if down is not None and down.ended_ns is not None:
            downs.append(down)
            alive_ns = max(alive_ns, down.ended_ns)
        down_since = self.down_since.get(stage)
        if stage in self._lost_devices:
            lost_ns, device = self._lost_devices[stage]
            downs.append(Down(lost_ns, None, device))
        elif down_since is not None:
            downs.append(Down(down_since, None))
        elif working_on is None and beat_ns:
            due_ns = max(alive_ns, beat_ns + BEAT_NS)
            if until_ns - due_ns > STALL_LIMIT_NS:
                stalls.append(Stall(stall_began_ns(alive_ns, due_ns, until_ns - due_ns), None))
        services = sorted([*services, *on_device], key=_started_ns)
        is_sink = not self._graph.forward.edges_from(stage)
        return Doings(services, stalls, downs, self._blocked(stage, since_ns, until_ns), is_sink)

    def _under_way(self, stage: str, besides: tuple[int, int] = NO_DATUM) -> list[Service]:
        """What the stage, and its device, are at, but for one datum: that which it is asked for."""
        recording = self._recordings[stage]
        found: list[Service] = []
        on_device: list[Service] = []
        begun: list[tuple[int, int, tuple[int, int]]] = []  # when, when the device was given it, and which
        working_on = recording.in_service()
        if working_on is not None and (working_on.stream, working_on.seq) != besides:
            given_ns = recording.word(layout.GIVEN_NS)
            begun.append((working_on.started_ns, given_ns, (working_on.stream, working_on.seq)))
        flights = [flight for flight in self._flights(stage) if besides not in flight.data]
        begun += [(flight.started_ns, flight.given_ns, flight.data[0]) for flight in flights]
        for started_ns, given_ns, (stream, seq) in begun:
            is_given = given_ns >= started_ns
            found.append(Service(started_ns, given_ns if is_given else None, self._name(stream), seq))
            if is_given:
                _append(on_device, given_ns, None, self._name(stream), seq)
        return [*found, *on_device]

    def _blocked(self, stage: str, since_ns: int, until_ns: int) -> list[Blocked]:
        """When the stage waited for room, and for whom."""
        recording = self._recordings[stage]
        target = {edge.name: edge.target for edge in self._graph.edges_from(stage)}
        found = [
            Blocked(one.started_ns, one.ended_ns, target[recording.shape.out_edges[one.sender][0]])
            for one in self._window(stage, since_ns, until_ns)
            if one.kind == Kind.BLOCKED
        ]
        working_on, edge = recording.in_service(), recording.blocked_on
        if edge and working_on is not None:  # since when is not written down; that long at most
            since_ns = max(working_on.started_ns, found[-1].ended_ns or 0 if found else 0)
            found.append(Blocked(since_ns, None, target[edge]))
        return found

    def _drops(self, path: int, found: Mapping[str, Sequence[Record]]) -> list[Drop]:
        bit = 1 << path
        edges = {edge.name: edge for edge in self._graph.edges if edge.name in self._paths.edges(path)}
        into = {edge.target: name for name, edge in edges.items()}
        return [
            Drop(stage, into.get(stage, ""), one.started_ns)
            for stage, records in found.items()
            for one in records
            if one.kind == Kind.DROPPED and one.mask & bit
        ]

    def _name(self, stream: int) -> str:
        return self._names[stream] if stream >= 0 else ""


def _append(on_device: list[Service], given_ns: int, done_ns: int | None, stream: str, seq: int) -> None:
    """A device works on one batch after the other: what it was given while it was at another it begins then."""
    if on_device and on_device[-1].ended_ns == done_ns and done_ns is not None:
        on_device.pop()  # of the same batch
    before_ns = on_device[-1].ended_ns if on_device else 0
    if before_ns is not None:
        on_device.append(Service(max(given_ns, before_ns), done_ns, stream, seq, is_device=True))


def _started_ns(service: Service) -> int:
    return service.started_ns
