"""Makes a Chrome trace (Trace Event Format, JSON object form) of what the flight recorders of a run still hold.

Perfetto and chrome://tracing open it. Each stage is a process of the trace, with these tracks:

    service      a slice for each handling, named `stream#seq`; in it, at its end, what of it was blocked
    waits 1, 2   from sent to started: `wire` until it was received, then `mailbox`; as many tracks as overlap
    device 1, 2  from the end of the handling until the device was done
    loop 1, 2    how long the stage was down, and its loop stood still (a new life may do so before it is back)
    events 1, 2  of a source, which has no service: from each event to its admission

and a counter `waiting from SENDER` for each stage that sends to it (see `queue_tracks`).

A flow is one way that a datum took, from its source over every stage to where it ended: an arrow per hop, so a datum
that was split has several flows. What the ring no longer holds is not there: a flow then begins at the first stage
that still knows the datum.

Slices of one track never overlap (viewers draw only nested ones); alternative not taken: async slices, which viewers
sort into a row for each datum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamflow.core.message import Flag
from streamflow.core.verdict import WORK, Kind
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record, to_records
from streamflow.runtime.queue_tracks import Ring, queue_tracks

TraceEvent = dict[str, Any]

SERVICE_TRACK, LOOP_TRACK = 1, 2
WAITS_TRACK, EVENTS_TRACK, DEVICE_TRACK = 100_000, 200_000, 300_000  # the first of many: a ring has fewer records
SUPERVISOR = 0  # the process of the trace for what concerns the whole run
SLICE_NS_MIN = 1_000  # viewers bind a flow to no shorter slice
NOTED = frozenset({Kind.REJECTED, Kind.SHED, Kind.DROPPED, Kind.LOST})
RUN_EVENTS = frozenset(
    "failed hung restarting back left gave_up broken escalated recovered silent heard stopping".split()
)


@dataclass(slots=True)
class Handling:
    """One slice: a stage's work on a datum, or on several at once (a join, a batch); or a source's admission."""

    stage: int
    start_ns: int
    end_ns: int
    records: list[Record]
    is_source: bool = False
    is_unfinished: bool = False
    track: int = SERVICE_TRACK

    @property
    def first(self) -> Record:
        return self.records[0]


@dataclass(slots=True)
class Lanes:
    """Tracks of one kind in one stage: each slice goes to the first that is free when it begins."""

    track: int
    ends_ns: list[int] = field(default_factory=list)

    def place(self, start_ns: int, end_ns: int) -> int:
        for index, busy_until_ns in enumerate(self.ends_ns):
            if busy_until_ns <= start_ns:
                self.ends_ns[index] = end_ns
                return self.track + index
        self.ends_ns.append(end_ns)
        return self.track + len(self.ends_ns) - 1


class Trace:
    """Of one run. `events` may be read once the recorders were: it follows what they hold at that time."""

    def __init__(
        self,
        recordings: Iterable[Recording],
        run_events: Iterable[dict[str, Any]] = (),
        *,
        started_ns: int = 0,
        until_ns: int = 0,
        is_offline: bool = False,
    ) -> None:
        """Times count from `started_ns`, or from the first that was recorded if that is earlier; `until_ns`: what is
        in service is drawn until then. Offline, event times are no instants of this clock.
        """
        self._stages = sorted(recordings, key=lambda recording: recording.shape.stage_index)
        self._streams = self._stages[0].shape.streams if self._stages else ()
        self._paths = self._stages[0].shape.paths if self._stages else ()
        self._is_offline = is_offline
        sender_of = {name: stage.shape.stage_index for stage in self._stages for name, _ in stage.shape.out_edges}
        self._feeding = {
            stage.shape.stage_index: {sender_of[name] for name, _ in stage.shape.in_edges if name in sender_of}
            for stage in self._stages
        }
        rings = [Ring(stage, _whole(stage), stage.in_service()) for stage in self._stages]
        self._run_events = [event for event in run_events if event["event"] == "miss" or event["event"] in RUN_EVENTS]
        everything = [record for ring in rings for record in ring.records]
        known_ns = [instant for record in everything for instant in (record.sent_ns, record.started_ns) if instant > 0]
        known_ns += [ring.serving.started_ns for ring in rings if ring.serving is not None]
        self.begin_ns = min([*([started_ns] if started_ns > 0 else []), *known_ns], default=0)
        self.end_ns = max([until_ns, *known_ns, *(record.ended_ns for record in everything)])
        self._handlings: list[Handling] = []
        self._notes: list[tuple[int, Record]] = []
        for ring in rings:
            self._take_in(ring.stage, ring.records, ring.serving)
        self._queues = list(queue_tracks(rings, self.begin_ns, self.end_ns))
        self._handlings.sort(key=lambda handling: (handling.start_ns, handling.end_ns))

    def events(self) -> Iterator[TraceEvent]:
        """Every event of the trace; names and order of tracks first."""
        body = [*self._slices(), *self._flows(), *self._instants(), *self._run_instants(), *self._counters()]
        used = sorted({(event["pid"], event["tid"]) for event in body if "tid" in event})
        for process in dict.fromkeys(pid for pid, _ in used):
            name = "supervisor" if process == SUPERVISOR else self._streams[process - 1]
            yield _named("process_name", process, 0, name=name)
            yield _named("process_sort_index", process, 0, sort_index=process)
        for process, track in used:
            yield _named("thread_name", process, track, name=_track_name(track))
            yield _named("thread_sort_index", process, track, sort_index=track)
        yield from body

    # -------------------------------------------------------------------------- from records to handlings

    def _take_in(self, stage: int, records: Sequence[Record], serving: Record | None) -> None:
        admitted: set[int] = set()
        open_work: Handling | None = None
        for record in records:
            if record.kind == Kind.ADMITTED:
                if record.seq not in admitted:  # a source may admit one datum to each of its edges by itself
                    admitted.add(record.seq)
                    self._handlings.append(self._admission(stage, record))
            elif record.kind in WORK:
                times = record.started_ns, record.ended_ns
                if open_work is not None and times == (open_work.start_ns, open_work.end_ns):
                    open_work.records.append(record)
                elif not _is_merger(record):
                    open_work = Handling(stage, *times, [record])
                    self._handlings.append(open_work)
            elif record.kind != Kind.SPLIT:
                self._notes.append((stage, record))
        if serving is not None and not self._is_source(stage):
            self._handlings.append(Handling(stage, serving.started_ns, self.end_ns, [serving], is_unfinished=True))

    def _admission(self, stage: int, record: Record) -> Handling:
        start_ns = record.started_ns if self._is_offline else min(record.event_time_ns, record.started_ns)
        start_ns = max(start_ns, self.begin_ns)
        return Handling(stage, start_ns, max(record.started_ns, start_ns + SLICE_NS_MIN), [record], is_source=True)

    def _is_source(self, stage: int) -> bool:
        return any(not one.shape.in_edges for one in self._stages if one.shape.stage_index == stage)

    # ------------------------------------------------------------------------------------------- slices

    def _slices(self) -> Iterator[TraceEvent]:
        lanes: dict[tuple[int, int], Lanes] = {}

        def lane(stage: int, track: int, start_ns: int, end_ns: int) -> int:
            return lanes.setdefault((stage, track), Lanes(track)).place(start_ns, end_ns)

        waits = []
        for handling in self._handlings:
            stage, first = handling.stage, handling.first
            if handling.is_source:
                handling.track = track = lane(stage, EVENTS_TRACK, handling.start_ns, handling.end_ns)
                yield self._slice(stage, track, self._name(first), "source", handling.start_ns, handling.end_ns)
                continue
            yield self._slice(
                stage, SERVICE_TRACK, self._name(first), "service", handling.start_ns, handling.end_ns,
                **self._told(handling),
            )  # fmt: skip
            blocked_ns = min(first.blocked_ns, handling.end_ns - handling.start_ns)
            if blocked_ns > 0:
                since_ns = handling.end_ns - blocked_ns
                yield self._slice(stage, SERVICE_TRACK, "blocked", "wait", since_ns, handling.end_ns)
            if first.device_done_ns > handling.end_ns:
                track = lane(stage, DEVICE_TRACK, handling.end_ns, first.device_done_ns)
                yield self._slice(stage, track, self._name(first), "device", handling.end_ns, first.device_done_ns)
            waits += [(one.sent_ns, stage, one) for one in _waiting(handling.records)]
        for sent_ns, stage, record in sorted(waits, key=lambda wait: wait[0]):
            track = lane(stage, WAITS_TRACK, sent_ns, record.started_ns)
            yield self._slice(stage, track, self._name(record), "wait", sent_ns, record.started_ns)
            arrived_ns = min(max(record.enqueued_ns, sent_ns), record.started_ns)
            for name, start_ns, end_ns in (("wire", sent_ns, arrived_ns), ("mailbox", arrived_ns, record.started_ns)):
                if end_ns > start_ns:
                    yield self._slice(stage, track, name, "wait", start_ns, end_ns)
        for stage, record in sorted(self._notes, key=lambda note: note[1].started_ns):
            if record.kind in (Kind.STALL, Kind.RESTARTED, Kind.BLOCKED):
                track = lane(stage, LOOP_TRACK, record.started_ns, record.ended_ns)
                yield self._slice(stage, track, _loop_name(record), "loop", record.started_ns, record.ended_ns)

    def _slice(
        self, stage: int, track: int, name: str, category: str, start_ns: int, end_ns: int, **told: Any
    ) -> TraceEvent:
        event = {
            "ph": "X",
            "name": name,
            "cat": category,
            "pid": stage + 1,
            "tid": track,
            "ts": self._us(start_ns),
            "dur": max(end_ns - start_ns, 0) / 1e3,
        }
        return event | ({"args": told} if told else {})

    def _told(self, handling: Handling) -> dict[str, Any]:
        first = handling.first
        told: dict[str, Any] = {"verdict": Kind(first.kind).name.lower()}
        if first.flags:
            told["flags"] = [flag.name.lower() for flag in Flag if flag & first.flags and flag.name]
        if first.deadline_ns:
            told["deadline_us"] = self._us(first.deadline_ns)
            told["time_left_ms"] = (first.deadline_ns - handling.end_ns) / 1e6
        told |= {key: ns / 1e6 for key, ns in _parts(first) if ns > 0}
        if len(handling.records) > 1:
            told["with"] = [self._name(record) for record in handling.records[1:]]
        if first.batch > 1:
            told["batch"] = first.batch
        if handling.is_unfinished:
            told["unfinished"] = True
        ended_here = [path for bit, path in enumerate(self._paths) if first.mask >> bit & 1]
        return told | ({"ended_on": ended_here} if ended_here else {})

    # -------------------------------------------------------------------------------------------- flows

    def _flows(self) -> Iterator[TraceEvent]:
        """From each last handling of a datum back to its source, and told forwards."""
        by_datum: dict[tuple[int, int], list[tuple[Record, Handling]]] = {}
        for handling in self._handlings:
            for record in handling.records:
                by_datum.setdefault((record.stream, record.seq), []).append((record, handling))
        flow = 0
        for (stream, seq), visits in by_datum.items():
            before = [self._before(record, handling, visits) for record, handling in visits]
            followed = {id(handling) for handling in before if handling is not None}
            position = {id(handling): i for i, (_, handling) in enumerate(visits)}
            for i, (_, handling) in enumerate(visits):
                if id(handling) in followed:
                    continue
                way = [i]
                while (earlier := before[way[-1]]) is not None and position[id(earlier)] < way[-1]:
                    way.append(position[id(earlier)])
                if len(way) > 1:
                    flow += 1
                    yield from self._way(flow, f"{self._stream(stream)}#{seq}", [visits[j][1] for j in reversed(way)])

    def _before(self, record: Record, handling: Handling, visits: Sequence[tuple[Record, Handling]]) -> Handling | None:
        """The handling that sent this on: the sender's last that had begun when it was sent.

        Of a row of a join only one part was sent by the sender that is recorded; the others came from whoever feeds it.
        """
        if handling.is_source:
            return None
        others = [other for _, other in visits if other is not handling]
        sent_ns = record.sent_ns or record.started_ns
        earlier = [other for other in others if other.stage == record.sender and other.start_ns <= sent_ns]
        if not earlier:
            feeding = self._feeding.get(handling.stage, set())
            earlier = [one for one in others if one.stage in feeding and one.start_ns <= handling.start_ns]
        return max(earlier, key=lambda other: other.start_ns, default=None)

    def _way(self, flow: int, name: str, way: Sequence[Handling]) -> Iterator[TraceEvent]:
        for i, handling in enumerate(way):
            phase = "s" if i == 0 else "f" if i == len(way) - 1 else "t"
            event = {
                "ph": phase,
                "id": flow,
                "name": name,
                "cat": "datum",
                "pid": handling.stage + 1,
                "tid": handling.track,
                "ts": self._us(handling.start_ns),
            }
            yield event | ({"bp": "e"} if phase == "f" else {})

    # ----------------------------------------------------------------------------------------- instants

    def _instants(self) -> Iterator[TraceEvent]:
        for stage, record in self._notes:
            kind = Kind(record.kind)
            if kind in NOTED:
                told: dict[str, Any] = {"on": [path for bit, path in enumerate(self._paths) if record.mask >> bit & 1]}
                name, track, at_ns = f"{kind.name.lower()} {self._name(record)}", SERVICE_TRACK, record.ended_ns
            else:
                told = {"ms": (record.ended_ns - record.started_ns) / 1e6}
                name, track, at_ns = _loop_name(record), LOOP_TRACK, record.started_ns
            yield _instant(name, stage + 1, track, self._us(at_ns), told)

    def _run_instants(self) -> Iterator[TraceEvent]:
        for event in self._run_events:
            told = {key: value for key, value in event.items() if key not in ("event", "at_ns", "at", "segments")}
            stage = event.get("stage")
            process = self._streams.index(stage) + 1 if stage in self._streams else SUPERVISOR
            if event["event"] == "miss":
                name = f"miss {event.get('stream', '?')}#{event.get('seq', '?')} {event.get('path', '')}"
                at_ns = event.get("detected_ns") or event["at_ns"]
            else:
                subject = event.get("process") or event.get("path") or event.get("rate") or event.get("stages") or ""
                subject = subject if isinstance(subject, str) else " ".join(map(str, subject))
                name, at_ns = f"{event['event']} {subject}", event["at_ns"]
            yield _instant(name.strip(), process, SERVICE_TRACK, self._us(at_ns), told)

    # ----------------------------------------------------------------------------------------- counters

    def _counters(self) -> Iterator[TraceEvent]:
        for track in self._queues:
            for at_ns, depth in track.samples:
                told = {"data": depth}
                yield {"ph": "C", "name": track.name, "pid": track.stage + 1, "ts": self._us(at_ns), "args": told}

    # -------------------------------------------------------------------------------------------- words

    def _us(self, instant_ns: int) -> float:
        """µs since the begin; what is said to be before it (a clock that was set, a torn word) is at the begin."""
        return max(instant_ns - self.begin_ns, 0) / 1e3

    def _stream(self, stream: int) -> str:
        return self._streams[stream] if 0 <= stream < len(self._streams) else "?"

    def _name(self, record: Record) -> str:
        return f"{self._stream(record.stream)}#{record.seq}"


def write_trace(trace: Trace, write: Any, described: dict[str, Any]) -> int:
    """Hand the JSON text to `write` bit by bit, an event a line; returns how many events there were."""
    write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(described)}, "traceEvents": [')
    count = 0
    for event in trace.events():
        write(("\n" if count == 0 else ",\n") + json.dumps(event, separators=(",", ":")))
        count += 1
    write("\n]}\n")
    return count


def _whole(recording: Recording) -> list[Record]:
    return to_records(recording.tail(0).records)


def _is_merger(record: Record) -> bool:
    """A note that a piece ended because another of the same datum goes on in its place: no work of its own."""
    return record.started_ns == record.ended_ns and not record.sent_ns and not record.enqueued_ns


def _waiting(records: Sequence[Record]) -> list[Record]:
    """One for each datum that was waited for; a row of a join was one message to the stage."""
    distinct = {(record.sent_ns, record.enqueued_ns, record.sender): record for record in reversed(records)}
    return [record for record in distinct.values() if 0 < record.sent_ns < record.started_ns]


def _parts(record: Record) -> Iterator[tuple[str, int]]:
    if record.sent_ns:
        yield "wire_ms", record.enqueued_ns - record.sent_ns
        yield "mailbox_ms", record.started_ns - max(record.enqueued_ns, record.sent_ns)
    yield "blocked_ms", record.blocked_ns


_LOOP_NAMES = {int(Kind.RESTARTED): "down", int(Kind.BLOCKED): "no room downstream"}


def _loop_name(record: Record) -> str:
    if record.kind in _LOOP_NAMES:
        return _LOOP_NAMES[record.kind]
    return "stall: garbage collection" if record.flags & 1 else "stall"


def _track_name(track: int) -> str:
    for first, label in ((DEVICE_TRACK, "device"), (EVENTS_TRACK, "events"), (WAITS_TRACK, "waits")):
        if track >= first:
            return f"{label} {track - first + 1}"
    return f"loop {track - LOOP_TRACK + 1}" if track >= LOOP_TRACK else "service"


def _named(what: str, process: int, track: int, **told: Any) -> TraceEvent:
    return {"ph": "M", "name": what, "pid": process, "tid": track, "args": told}


def _instant(name: str, process: int, track: int, at_us: float, told: dict[str, Any]) -> TraceEvent:
    scope = "g" if process == SUPERVISOR else "t"
    event = {"ph": "i", "s": scope, "name": name, "cat": "event", "pid": process, "tid": track, "ts": at_us}
    return event | {"args": told}
