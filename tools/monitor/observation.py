"""Follows a run as a stranger: its state, its log, its recorders, and the process table; asks nobody for anything.

What is open stays readable when the run's folder goes, so that the end of a run is seen to its last line. When another
run of the same pipeline begins after that, it is followed from then on.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from time import monotonic_ns as now_ns  # streamflow's clocks bring trio: an eighth of what a start takes
from typing import Any

from streamflow.core.graph import Resolved
from streamflow.core.paths import on_route
from streamflow.core.portrait import from_values
from streamflow.core.timebase import ms, s, seconds
from streamflow.errors import RecorderError, StreamflowError
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.runtime.rundir import RunFolder, live_runs
from tools.monitor.log import Log
from tools.monitor.snapshot import (
    Edge,
    Path,
    Snapshot,
    Stage,
    Told,
    condition_of,
    mapping,
    measured,
    number,
    path_of,
    with_newer,
)

RATE_NS = 1 * s  # rates are of so long
LAG_NS = 60 * s
SLOW_NS = 1 * s  # what seldom changes, or costs more, is read so often
STOPPED = "Tt"
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
HUNG_NS = 2 * s  # a stage that hangs may be started again within 100 ms, which nobody would see
BEAT_LIMIT_NS = 100 * ms  # a loop beats every 20 ms; the process table is asked about one that does not

Counts = dict[str, int]


class History:
    """Values of one thing over the last while, for the rate at which they grow."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._seen: deque[tuple[int, int]] = deque()

    def growth(self, at_ns: int, value: int) -> tuple[int, int]:
        """By how much it has grown, and in how many ns; zeros at first. A value that falls begins anew."""
        seen = self._seen
        if seen and value < seen[-1][1]:
            seen.clear()
        seen.append((at_ns, value))
        while len(seen) > 2 and at_ns - seen[1][0] >= self._span_ns:
            seen.popleft()
        first_ns, first = seen[0]
        return value - first, at_ns - first_ns

    def rate_hz(self, at_ns: int, value: int) -> float | None:
        grown, span_ns = self.growth(at_ns, value)
        return grown / seconds(span_ns) if span_ns else None


class Observation:
    """Of one run, live or dead. Raises StreamflowError where there is nothing to be seen of it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        description = folder.description()
        self._description = description
        self.resolved = _drawn(description)
        self._deadlines = {one["name"]: one for one in mapping(description, "graph").get("deadlines", ())}
        self._recordings: dict[str, Recording] = {}
        self._log = Log(folder)
        self._state: dict[str, Any] = {}
        self._state_stamp: tuple[int, int] | None = None
        self._histories: dict[tuple[str, str], History] = {}
        self._memory_mb: dict[str, float | None] = {}
        self._slow_ns = 0
        self._shown_s = 0.0
        self._is_live = True
        self._told_paths: tuple[Path, ...] = ()
        self._paths: tuple[Path, ...] = ()
        self._ways: dict[tuple[str, str], list[str]] = {}
        self._misses: tuple[Told, ...] = ()
        self._events: tuple[Told, ...] = ()

    @property
    def is_live(self) -> bool:
        return self._is_live

    def look(self) -> Snapshot:
        """How the run is now; how it was last, once it is over."""
        at_ns = now_ns()
        self._is_live = self._is_live and self.folder.is_live()
        is_told = self._read_state()
        if is_new := self._log.read():
            self._misses, self._events = tuple(self._log.misses), tuple(self._log.events)
        if is_told or is_new:
            told_ns = int(number(self._state.get("at_ns")) or 0)
            newer = list(takewhile(lambda miss: miss.get("at_ns", 0) > told_ns, self._misses)) if self._state else []
            self._paths = tuple(with_newer(path, newer) for path in self._told_paths)
        self._open_recordings()
        is_slow = at_ns - self._slow_ns >= SLOW_NS
        self._slow_ns = at_ns if is_slow else self._slow_ns
        state, ending = self._state, self._ending()
        edges = self._edges(at_ns)
        return Snapshot(
            run=self.folder.path.name,
            pipeline=str(self._description.get("pipeline", "?")),
            phase=str(state.get("phase", "starting")),
            ending=ending,
            elapsed_s=self._elapsed_s(at_ns, is_over=bool(ending)),
            age_s=0.0 if ending or not state else max(seconds(at_ns - int(state.get("at_ns", at_ns))), 0.0),
            is_offline=bool(self._description.get("offline")),
            broken_sums=_sentences(state.get("conserved")),
            silent=[name for name, rate in mapping(state, "rates").items() if rate.get("is_silent")],
            paths=self._paths,
            stages=[self._stage(stage, at_ns, edges, is_slow=is_slow, is_over=bool(ending)) for stage in self._names()],
            edges=list(edges.values()),
            misses=self._misses,
            events=self._events,
        )

    def stamps(self, stream: str, seq: int) -> list[tuple[str, Any]]:
        """(stage, record) of a datum, the oldest first, as far as the recorders go back."""
        streams = next((one.shape.streams for one in self._recordings.values()), ())
        if stream not in streams:
            return []
        number_of = streams.index(stream)
        found = [(stage, one) for stage, rec in self._recordings.items() for one in rec.find(number_of, seq)]
        return sorted(found, key=lambda pair: (pair[1].started_ns, pair[1].ended_ns))

    def close(self) -> None:
        for recording in self._recordings.values():
            recording.close()
        self._log.close()

    # ------------------------------------------------------------------------------------ what is read

    def _read_state(self) -> bool:
        """Whether there was a new one."""
        try:
            status = self.folder.state.stat()
            stamp = status.st_ino, status.st_mtime_ns
            if stamp == self._state_stamp:
                return False
            self._state = json.loads(self.folder.state.read_bytes())
            self._state_stamp = stamp
        except (OSError, ValueError):
            return False  # it has told none yet, or has gone: what it told last stands
        told = mapping(self._state, "paths")
        self._told_paths = tuple(
            path_of(name, path, self._deadlines.get(name, {}), self._way(path)) for name, path in told.items()
        )
        return True

    def _way(self, path: Told) -> list[str]:
        """The stages on any way from its source to its sink."""
        ends = source, sink = str(path.get("source")), str(path.get("sink"))
        if self.resolved is not None and ends not in self._ways:
            route = on_route(self.resolved.graph.edges, source, sink)
            met = {source, sink, *(edge.source for edge in route), *(edge.target for edge in route)}
            self._ways[ends] = [stage for stage in self.resolved.order if stage in met]
        return self._ways.get(ends, [])

    def _open_recordings(self) -> None:
        if len(self._recordings) == len(self._names()):
            return
        for name in self._names():
            if name not in self._recordings:
                with suppress(RecorderError):
                    self._recordings[name] = Recording.open(self.folder.recording(name))

    def _names(self) -> list[str]:
        if self.resolved is not None:
            return list(self.resolved.order)
        return list(mapping(self._state, "stages"))

    def _ending(self) -> str:
        """How the run ended; empty while it lives."""
        if self._is_live:
            return ""
        return self._log.ending or "killed"

    def _elapsed_s(self, at_ns: int, *, is_over: bool) -> float:
        """From when data flow, to the end; of a killed run that is the last sign of life of any stage. Never less than
        before, for a killed run counts as live until it is cleared up."""
        started_ns = int(number(self._state.get("started_ns")) or 0)
        found = number(self._state.get("elapsed_s")) or 0.0
        if started_ns:
            if not is_over:
                found = seconds(at_ns - started_ns)
            elif not self._log.ending:
                beats = (recording.word(layout.BEAT_NS) for recording in self._recordings.values())
                found = max(found, seconds(max(beats, default=0) - started_ns))
        self._shown_s = max(found, self._shown_s)
        return self._shown_s

    def _rate_hz(self, kind: str, name: str, at_ns: int, value: int) -> float | None:
        return self._history(kind, name, RATE_NS).rate_hz(at_ns, value)

    def _history(self, kind: str, name: str, span_ns: int) -> History:
        key = kind, name
        if key not in self._histories:
            self._histories[key] = History(span_ns)
        return self._histories[key]

    # -------------------------------------------------------------------------------- edges and stages

    def _edges(self, at_ns: int) -> dict[str, Edge]:
        """From both ends' recorders; totals that the dead took with them are as the run told them last."""
        held: Counts = {}
        offered: Counts = {}
        for recording in self._recordings.values():
            for name, count, offered_count in recording.leaving():
                held[name] = held.get(name, 0) + count
                offered[name] = offered_count
            for name, count in recording.arriving():
                held[name] = held.get(name, 0) + count
        told = mapping(self._state, "edges")
        known = {edge.name: edge for edge in self.resolved.graph.edges} if self.resolved is not None else {}
        found = {}
        for name in known or told:
            edge, part = known.get(name), mapping(told, name)
            found[name] = Edge(
                name=name,
                rate_hz=self._rate_hz("edge", name, at_ns, offered[name]) if name in offered else None,
                depth=held.get(name, 0),
                capacity=edge.capacity if edge is not None else 0,
                policy="lossless" if edge is not None and edge.is_lossless else edge.overflow.value if edge else "",
                sent=int(number(part.get("sent")) or 0),
                delivered=int(number(part.get("delivered")) or 0),
                dropped=_counts(part.get("dropped")),
                lost=int(number(part.get("lost")) or 0),
                in_flight=int(number(part.get("in_flight")) or 0),
                depth_peak=int(number(part.get("depth_peak")) or 0),
            )
        return found

    def _stage(self, name: str, at_ns: int, edges: Mapping[str, Edge], *, is_slow: bool, is_over: bool) -> Stage:
        told = mapping(mapping(self._state, "stages"), name)
        definition = self.resolved.graph.stage(name) if self.resolved is not None else None
        is_source = definition.is_source if definition is not None else told.get("busy") is None
        process = str(told.get("process") or (definition.process if definition else "?"))
        recording = self._recordings.get(name)
        counters = recording.counters() if recording is not None else {}
        pid = counters.get("pid", 0)
        arriving = self.resolved.graph.edges_into(name) if self.resolved is not None else ()
        into = [edges[edge.name] for edge in arriving if edge.name in edges]
        busy, rate_hz, stalled_ms, in_service_ms, is_degraded = None, None, None, None, False
        if recording is not None:
            rate_hz = self._rate_hz("stage", name, at_ns, counters["emitted" if is_source else "processed"])
            stalled_ns, _ = self._history("stall", name, LAG_NS).growth(at_ns, counters["stall_ns"] + counters["gc_ns"])
            stalled_ms = stalled_ns / ms
            degraded, _ = self._history("degraded", name, RATE_NS).growth(at_ns, counters["degraded"])
            is_degraded = degraded > 0 or (bool(told.get("variants")) and recording.word(layout.VARIANT) > 0)
            service = None if is_source else recording.in_service()
            in_service_ms = None if service is None or is_over else max(at_ns - service.started_ns, 0) / ms
            if not is_source:
                grown, span_ns = self._history("busy", name, RATE_NS).growth(at_ns, counters["busy_ns"])
                current_ns = min(in_service_ms * ms, span_ns) if in_service_ms is not None else 0
                busy = min((grown + current_ns) / span_ns, 1.0) if span_ns else None
        is_stopped = self._is_stopped(recording, pid, at_ns) and not is_over
        hung_ns, why = self._log.hung.get(name, (0, ""))
        is_hung = is_stopped or at_ns - hung_ns < HUNG_NS
        if is_slow:
            self._memory_mb[name] = None if is_over else _memory_mb(pid)
        phase = str(told.get("state", "starting"))
        last_event = self._log.last_of_process.get(process, "")
        return Stage(
            name=name,
            node=definition.node if definition is not None else "",
            process=process,
            pid=0 if is_over else pid,
            device=str(told.get("device") or ""),
            condition=condition_of(
                "down" if last_event == "restarting" and phase == "running" else phase,
                is_hung=is_hung,
                is_blocked=recording is not None and bool(recording.blocked_on),
                is_degraded=is_degraded,
                busy=busy,
                last_event=last_event,
                is_over=is_over,
            ),
            why=why if is_hung and why else "its process is stopped by a signal" if is_stopped else "",
            is_source=is_source,
            rate_hz=None if is_over else rate_hz,
            processed=counters.get("emitted" if is_source else "processed", 0),
            service_ms=measured(told, "service_ms"),
            busy=None if is_over and not told else number(told.get("busy")) if is_over else busy,
            batch=_mean_batch(mapping(told, "batch")),
            restarts=int(number(told.get("restarts")) or 0),
            memory_mb=self._memory_mb.get(name),
            stalled_ms=stalled_ms,
            depth=sum(edge.depth for edge in into),
            dropped=_summed([edge.dropped for edge in into]),
            in_service_ms=in_service_ms,
            variant=None if told.get("variant") is None else str(told["variant"]),
            told=told,
        )

    def _is_stopped(self, recording: Recording | None, pid: int, at_ns: int) -> bool:
        """By a signal or a debugger; only of one whose loop is silent the process table is asked."""
        if recording is None or not self._is_live or at_ns - recording.word(layout.BEAT_NS) < BEAT_LIMIT_NS:
            return False
        return _process_state(pid) in STOPPED


def successor_of(folder: RunFolder, pipeline: str | None) -> RunFolder | None:
    """The newest live run of the pipeline, or of any, if it is another."""
    others = [one for one in live_runs() if pipeline in (None, one.pipeline) and one.path != folder.path]
    return others[-1] if others else None


def next_of(folder: RunFolder) -> RunFolder | None:
    """The live run that began next after this one, the oldest after the newest, if there is another."""
    live = live_runs()
    place = next((number for number, one in enumerate(live) if one.path == folder.path), -1)
    following = live[(place + 1) % len(live)] if live else folder
    return following if following.path != folder.path else None


def _drawn(description: Mapping[str, Any]) -> Resolved | None:
    """The graph as the run left it; None of a run of another version, whose stages are told all the same."""
    try:
        return from_values(description["graph"])
    except (LookupError, TypeError, ValueError, AttributeError, StreamflowError):
        return None


def _sentences(conserved: object) -> list[str]:
    return [str(one) for one in conserved] if isinstance(conserved, list) else []


def _counts(told: object) -> Counts:
    return {str(key): int(number(value) or 0) for key, value in told.items()} if isinstance(told, Mapping) else {}


def _summed(parts: Sequence[Mapping[str, int]]) -> Counts:
    total: Counts = {}
    for part in parts:
        for reason, count in part.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _mean_batch(sizes: Told) -> float | None:
    count = sum(sizes.values())
    mean = sum(int(size) * each for size, each in sizes.items()) / count if count else 0.0
    return mean if mean > 1 else None


def _memory_mb(pid: int) -> float | None:
    """Resident, shared pages included."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_SIZE / 1e6
    except (OSError, IndexError, ValueError):
        return None


def _process_state(pid: int) -> str:
    """The letter in the process table; X of one that is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return chr(file.read().rpartition(b") ")[2][0])
    except (OSError, IndexError):
        return "X"
